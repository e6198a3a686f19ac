"""`racing compare`: policies against each other."""
