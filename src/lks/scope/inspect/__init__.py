"""What a scope does, told: conflicts and reports."""
