"""Which edit of an entity is asked for."""
