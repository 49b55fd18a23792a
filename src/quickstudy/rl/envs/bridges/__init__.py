"""What `from_gymnasium` consists of: where tasks come from, layers of wrappers, checks of answers."""
