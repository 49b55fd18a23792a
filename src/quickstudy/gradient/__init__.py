"""Learners that adapt by gradient steps, and the inner-loop engine under them."""
