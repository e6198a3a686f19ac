"""Races: cars that see, touch and hold up each other."""
