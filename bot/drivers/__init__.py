"""Where a run lives: its process, and the trainer's command line."""
