"""What is to be followed: routes that are made up, and those of files."""
