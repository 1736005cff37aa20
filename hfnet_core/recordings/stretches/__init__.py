"""Stretches of a drive that a map does not know well, kept as images in a folder."""
