"""Figures, tables and the one-page report: what becomes of a run's numbers."""
