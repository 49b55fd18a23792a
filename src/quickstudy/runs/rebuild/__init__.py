"""Learners, families and environments as JSON, and back."""
