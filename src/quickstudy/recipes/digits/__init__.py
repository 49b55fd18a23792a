"""Few-shot classification of digits."""
