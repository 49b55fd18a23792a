"""Learners that adapt by remembering: recurrent policies over several episodes of a task."""
