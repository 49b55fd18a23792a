"""How well a learner does: scores, intervals, bootstrap, and tuning of its adaptation."""
