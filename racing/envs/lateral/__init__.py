"""`env=lateral`: comma.ai's controls challenge, steering a car's lateral acceleration along a planned one."""
