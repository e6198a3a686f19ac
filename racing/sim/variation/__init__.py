"""What of a car differs from its vehicle: mass, tyres, actuators, range finders; drawn anew for every episode."""
