"""Learners that act on a belief about the task: a distribution over a latent variable."""
