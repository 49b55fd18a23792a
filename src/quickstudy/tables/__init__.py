"""Learners for tables of groups, chosen by how well they predict groups that they have not seen."""
