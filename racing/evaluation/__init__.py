"""Drive a greedy policy from held-out starts; report its laps."""
