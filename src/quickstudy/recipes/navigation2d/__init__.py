"""2-D navigation."""
