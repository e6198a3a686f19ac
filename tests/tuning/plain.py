"""python -m tests.tuning.plain ARGUMENTS: racing train without pictures, which take longer than a tiny training."""

from __future__ import annotations

import sys

import pytest

from racing.cli import main


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    for name in ("lap_picture", "channels_picture"):
        patch.setattr(f"racing.evaluation.plots.{name}", lambda *arguments, **_: arguments[3].write_bytes(b""))
    patch.setattr("racing.tuning.report.FIGURES", {})


if __name__ == "__main__":
    leave_out_pictures(pytest.MonkeyPatch())
    sys.exit(main(["train", *sys.argv[1:]]))
