"""Episodes that say themselves what they cost: drivers beside each other, as channels over time."""
