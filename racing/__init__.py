"""racing: train, compare and ship driving policies."""

__version__ = "0.1.0"
