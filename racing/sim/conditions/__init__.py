"""What changes while a car drives: tyres that wear, fuel that burns, weather, damage."""
