"""Read, generate, validate and draw circuits, and compute their reference laps."""
