"""Draws of Gaussian processes."""
