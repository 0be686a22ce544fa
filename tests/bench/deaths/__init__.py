"""A small training, and what may befall its saves."""
