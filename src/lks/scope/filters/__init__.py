"""What is no mention after all."""
