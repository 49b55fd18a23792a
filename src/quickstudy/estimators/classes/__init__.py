"""Learners of class labels for groups of rows, and the choice among them."""
