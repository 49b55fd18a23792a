"""Every learner on the same curves under an equal budget."""
