"""Mapping while a robot drives."""
