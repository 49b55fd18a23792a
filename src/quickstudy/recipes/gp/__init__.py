"""Neural Processes on samples of Gaussian processes."""
