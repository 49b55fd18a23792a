"""Formats of files: CSV, Excel, Parquet, and those that cannot be read."""
