"""A run folder on disk: checkpoint, configuration, metrics, lock, resume, save and load."""
