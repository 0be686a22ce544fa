"""Crash-safe work on runs: stop, rollback, resume, and the approval before it."""
