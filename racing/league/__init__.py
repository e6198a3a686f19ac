"""Matches between policies, and what they say of their strength."""
