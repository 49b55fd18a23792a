"""The generalised linear mixed model."""
