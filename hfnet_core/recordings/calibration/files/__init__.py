"""Calibration files of the tools that people calibrate with."""
