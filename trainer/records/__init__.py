"""What the trainer writes into the run directory: records, console log, stacks, and whose directory it is."""
