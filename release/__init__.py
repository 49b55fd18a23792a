"""`make release-check`: the wheel as a newcomer gets it, built, looked into, and used in empty environments."""
