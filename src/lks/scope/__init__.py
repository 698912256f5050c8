"""Which edits a text triggers, and where."""
