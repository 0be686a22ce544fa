"""Checkpoints that can be trusted: attested while in memory, kept in full precision, judged without running them."""
