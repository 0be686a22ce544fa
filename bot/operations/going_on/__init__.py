"""Runs that died or hang, and go on by themselves."""
