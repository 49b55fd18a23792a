"""What acts on a predictor: planning and control by a learned model."""
