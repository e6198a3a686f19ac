"""`racing train -m` in a process, with small trainings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHORT = ["debug=fast", "eval.episodes=2", "name=s", "algo.n_steps=16", "eval.every_steps=0"]
SHORT += ["tracking.close_timeout=600"]  # on a busy machine MLflow alone takes a minute to import
TOTAL = 24_576
LONG = [*SHORT, f"algo.total_timesteps={TOTAL}", "checkpoint.every=4096", "tracking=none"]


def command(outputs: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "racing", "train", *arguments, f"paths.outputs={outputs}"]


def train(outputs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(outputs, *arguments), capture_output=True, text=True, timeout=300)


# A circle that is learnt quickly: laps are driven after half of it.
LEARNT = [
    "-m",
    "debug=fast",
    "eval.episodes=2",
    "name=s",
    "track=oval",
    "algo.n_steps=16",
    "algo.total_timesteps=24576",
]
LEARNT += ["eval.every_steps=16384", "eval.start_fraction=0.2"]
LEARNT += ["seed=1,2", "algo.learning_rate=1e-3,3e-3"]
