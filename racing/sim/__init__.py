"""Vehicle dynamics, range finders and camera as compiled kernels on arrays; knows no RL, no config, no files."""
