"""Exact Gaussian processes of groups: their predictor, and functions drawn from it."""
