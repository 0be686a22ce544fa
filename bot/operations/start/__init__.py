"""Starting a trainer again."""
