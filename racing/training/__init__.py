"""Build the experiment, train, evaluate, checkpoint, resume."""
