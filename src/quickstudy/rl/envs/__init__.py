"""Environments, one in each file, and adapters to and from gymnasium."""
