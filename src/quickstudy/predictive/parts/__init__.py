"""What several beliefs compute with."""
