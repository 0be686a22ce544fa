"""The full state of a run: taken, saved, chosen for a resume, and put back."""
