"""The simulator as an environment of Stable-Baselines3 and Gymnasium."""
