"""The verbs of the trainer on the command line: one file a verb; torch loads only for those that need it."""
