"""Laps against each other, over distance."""
