"""Stopping a run: who asked for it, how its process ends, and what is offered afterwards."""
