"""Neural Processes that control carts of unknown masses."""
