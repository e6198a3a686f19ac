"""`racing campaign`: several configurations, from training to deployment."""
