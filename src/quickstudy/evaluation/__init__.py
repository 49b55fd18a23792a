"""Evaluation of learners: scores, intervals, bootstrap, and tuning of their adaptation."""
