"""Back to an earlier checkpoint."""
