"""A map that follows its place over months."""
