"""What the node says of its map, or of the one of several where it is."""
