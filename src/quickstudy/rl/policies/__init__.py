"""Policies beyond the two of `quickstudy.rl.policy`, and what all of them share."""
