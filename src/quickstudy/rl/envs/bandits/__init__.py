"""Bandits: arms whose payoffs the learner does not know."""
