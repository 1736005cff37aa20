"""What visits have seen of a map, and what they have not."""
