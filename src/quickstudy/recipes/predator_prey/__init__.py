"""Neural processes on populations of predators and prey."""
