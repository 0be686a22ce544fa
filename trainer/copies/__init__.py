"""A copy elsewhere of what was attested clean, for the day that the disk dies. Loads no torch."""
