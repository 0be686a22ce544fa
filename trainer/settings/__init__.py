"""What a person asked for: the guard's own settings, and everything checked before anything is made."""
