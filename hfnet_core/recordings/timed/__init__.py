"""Poses and transforms over time, each for itself."""
