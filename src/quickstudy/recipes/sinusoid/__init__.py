"""Sine waves: MAML's experiments, and every learner on the same waves."""
