"""Learners that compare with the support set, or solve for it in closed form."""
