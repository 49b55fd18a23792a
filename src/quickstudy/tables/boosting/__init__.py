"""Boosted trees as a learner: features of seen rows, trees as tensors, and the learner."""
