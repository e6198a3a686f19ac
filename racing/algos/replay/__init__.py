"""Replay buffers of batched environments: each observation is kept once, rows are saved with checkpoints."""
