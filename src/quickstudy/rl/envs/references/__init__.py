"""Policies that know the distribution of tasks exactly: what learners are measured against."""
