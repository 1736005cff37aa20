"""The version, in this one place for Python: that of the weights that ship, but for its last digit (see CHANGELOG.md).

package.xml repeats it and a test compares both with the weights.
"""

__all__ = ["__version__"]

__version__ = "0.7.0"
