"""Gymnasium and SB3 environments of sim."""
