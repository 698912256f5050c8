"""Facts as records: edits, sets of them, their files."""
