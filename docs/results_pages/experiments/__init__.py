"""What was asked in each experiment, and what came out."""
