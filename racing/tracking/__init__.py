"""The record of a run on servers: MLflow, TensorBoard, Weights & Biases."""
