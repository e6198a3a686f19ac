"""Load a policy from anywhere, export it to ONNX."""

DRIVER = "driver"  # algo.teacher that is no run; here, for those who ask without torch
