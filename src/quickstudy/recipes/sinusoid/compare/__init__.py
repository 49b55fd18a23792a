"""A comparison of all learners on the same curves, with equal budgets."""
