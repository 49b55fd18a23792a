"""Images: pixels of a hidden digit are revealed, and learners complete it."""
