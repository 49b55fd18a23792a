"""Meta-training: the fit loop, its run folders and checkpoints, and evaluation."""
