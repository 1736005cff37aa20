"""What depth images tell of a map."""
