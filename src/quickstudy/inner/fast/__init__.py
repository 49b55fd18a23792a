"""The fast path: all tasks in one pass, fast weights that are never built, gradients without a tape."""
