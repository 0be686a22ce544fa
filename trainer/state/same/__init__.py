"""Whether a resume goes on with what was trained: the same data, the same model, the same groups of parameters."""
