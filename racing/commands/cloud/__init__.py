"""`racing cloud`."""
