"""What is kept of a bad batch: the images, and weights and random state of that moment."""
