"""Run folders on disk: checkpoints, configuration, metrics, lock, resume, save and load."""
