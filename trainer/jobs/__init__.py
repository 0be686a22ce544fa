"""Trainings as jobs of a cluster: what their environment tells, and how one is submitted. Standard library only."""
