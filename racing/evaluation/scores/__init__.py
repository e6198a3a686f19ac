"""Evaluations of environments whose episodes say themselves what they cost."""
