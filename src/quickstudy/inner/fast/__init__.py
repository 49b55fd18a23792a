"""The fast path: all tasks in one pass, low-rank weights that are never built, gradients whose graph is not kept."""
