"""Learners of tables as scikit-learn's estimators, with `groups=` as in its splitters."""
