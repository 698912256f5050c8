"""Misspelt names."""
