"""Reinforcement learning of robots that run."""
