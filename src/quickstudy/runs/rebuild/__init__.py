"""Describes learners, families and environments as JSON, and builds them from it."""
