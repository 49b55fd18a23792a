"""Groups of rows in a CSV file as tasks."""
