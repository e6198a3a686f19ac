"""What many tests need and is the same in all of them: made once, or not at all."""
