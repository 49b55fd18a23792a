"""The inner loop: gradient steps on every task at once, exactly differentiable."""
