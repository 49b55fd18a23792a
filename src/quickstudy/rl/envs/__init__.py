"""Environments: one a file."""
