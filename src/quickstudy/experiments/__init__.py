"""What a recipe stands on: options, stage, several seeds side by side, measuring again."""
