"""A table over editors, cell by cell."""
