"""What goes into a batch: order, sources, faults of a data set, quarantine, and a small data set of digits."""
