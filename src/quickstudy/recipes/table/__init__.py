"""A table of your own: one task a group."""
