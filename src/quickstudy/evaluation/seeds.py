"""How many seeds an interval over seeds needs. This module does not import torch."""

LEAST_SEEDS = 3
"""With two seeds Student's factor is 12.7, on a standard deviation from a single difference: the interval is chance."""
