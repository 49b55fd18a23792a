"""Sine waves: the experiments of the MAML paper, and a comparison of all learners."""
