"""A curve for all groups, and a Gaussian process for each group's deviation from it."""
