"""Bernoulli bandits."""
