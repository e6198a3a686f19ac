"""`launcher=slurm`: jobs on a SLURM cluster."""
