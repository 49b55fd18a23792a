"""Systems that a motor swings up, one in each file; their actions are continuous."""
