"""Load a policy from anywhere, export it to ONNX."""
