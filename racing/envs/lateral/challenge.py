"""`racing export format=controls_challenge`: a policy as a controller of the challenge, for its own eval.py."""

from __future__ import annotations

from pathlib import Path

from racing.files import write_atomic

CONTROLLER = Path(__file__).with_name("challenge_controller.py")
FILE = "racing.py"  # in the folder controllers of the challenge


def write_controller(policy: Path) -> list[Path]:
    """Write racing.py beside a policy's ONNX file, which it loads; returns its path.

    It needs numpy and onnxruntime alone, and knows from the ONNX file's metadata what an action means.
    """
    path = policy.with_name(FILE)
    write_atomic(path, CONTROLLER.read_text(encoding="utf-8"))
    return [path]
