"""Carts with unknown masses."""
