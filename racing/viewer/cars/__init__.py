"""Cars on circuits: each in a world of its own, or several in a race."""
