"""The post-mortem of a whole console log: skimmed fast, read where it matters, told as a report."""
