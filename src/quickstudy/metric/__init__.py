"""Learners that condition on the support set in closed form."""
