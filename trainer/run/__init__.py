"""One guarded run from start to end: its parts, its reports, its validation, its ranks."""
