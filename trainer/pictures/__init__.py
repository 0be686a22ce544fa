"""Pictures of a run, with the same told in words: curves, and the images of a bad batch. Loads no torch."""
