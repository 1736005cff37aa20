"""The version, in this one place for Python; package.xml repeats it and a test compares them."""

__all__ = ["__version__"]

__version__ = "0.1.0"
