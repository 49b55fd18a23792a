"""Learners that adapt by encoding the support set: neural processes."""
