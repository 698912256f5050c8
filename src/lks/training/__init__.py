"""Training of packs and of their relation gates."""
