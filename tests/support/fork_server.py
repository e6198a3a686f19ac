"""Imported once by a fork server: whatever is forked from it has everything loaded, and begins to train at once."""

from __future__ import annotations

import contextlib
import io
import tempfile

from racing.cli import main

TINY = [
    "debug=fast",
    "eval.episodes=2",
    "eval.every_steps=0",
    "tracking=none",
    "algo.total_timesteps=2048",
    "algo.n_steps=32",
]

with (
    tempfile.TemporaryDirectory(prefix="racing-warm-") as folder,
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):
    assert main(["train", *TINY, f"paths.outputs={folder}"]) == 0
