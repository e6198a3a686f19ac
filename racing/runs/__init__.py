"""One training run on this disk: directory, identity, journal, checkpoints."""
