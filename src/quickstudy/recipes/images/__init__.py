"""Neural processes on images."""
