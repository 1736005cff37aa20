"""Localization where a robot has several maps: floors, buildings."""
