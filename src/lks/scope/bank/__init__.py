"""Data: how people ask for common facts, a file for each domain."""
