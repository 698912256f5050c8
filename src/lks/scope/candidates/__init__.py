"""Where a text may name an entity."""
