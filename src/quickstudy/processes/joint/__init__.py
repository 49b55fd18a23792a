"""Joint predictions of processes that predict each point by itself: by the chain rule, and functions that remember."""
