"""What is known of a run: facts read from its records, folded into one immutable view, and what follows of it."""
