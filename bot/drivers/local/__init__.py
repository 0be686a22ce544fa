"""A run that lives on this host: its process, the family of it, its launches and its stacks."""
