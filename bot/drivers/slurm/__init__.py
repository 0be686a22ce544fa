"""Jobs of a Slurm cluster, by its own command line."""
