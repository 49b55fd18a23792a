"""Functions of one variable: several learners, and the exact posterior, under the same points."""
