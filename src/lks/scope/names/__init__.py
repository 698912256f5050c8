"""What is known of the names, made once."""
