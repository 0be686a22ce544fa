"""The seams into Ultralytics that the guard rests on, and whether they are there."""
