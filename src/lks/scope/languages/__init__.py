"""Words of languages."""
