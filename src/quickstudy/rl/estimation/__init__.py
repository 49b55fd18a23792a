"""Estimators of policy gradients, and what they need: advantages, baselines, surrogate objectives."""
