"""Reinforcement learning in 2-D navigation."""
