"""Other settings for a running training."""
