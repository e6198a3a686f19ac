"""Drive a greedy policy from held-out starts and report its laps."""
