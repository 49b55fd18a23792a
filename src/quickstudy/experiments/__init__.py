"""The code that recipes share: catalogue, options, stage, several seeds at a time, measuring again."""
