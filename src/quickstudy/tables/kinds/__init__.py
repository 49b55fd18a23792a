"""Kinds of outcomes of a table, and the learners that suit them."""
