"""Load a policy from anywhere, export it to ONNX."""

DRIVER = "driver"  # algo.teacher that is no run, or DRIVER@NAME; here, for those who ask without torch


def is_driver(spec: object) -> bool:
    """Whether a value of algo.teacher means a driver that the environment offers, and no run."""
    return isinstance(spec, str) and spec.partition("@")[0] == DRIVER
