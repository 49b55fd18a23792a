"""New groups of real tables, predicted from their first few rows."""
