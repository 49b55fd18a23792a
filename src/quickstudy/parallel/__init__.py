"""Many processes as one training."""
