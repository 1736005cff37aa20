"""Depth images beside those of the cameras."""
