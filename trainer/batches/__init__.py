"""One batch and one optimizer step under guard: judging, skipping, running again, healing, counting."""
