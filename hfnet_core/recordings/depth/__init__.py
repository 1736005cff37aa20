"""Depth images beside those of a camera."""
