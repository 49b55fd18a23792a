"""A meta-gradient as one compiled graph."""
