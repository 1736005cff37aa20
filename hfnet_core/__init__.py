"""Visual localization with HF-Net: features, maps, poses. Plain Python, independent of ROS."""

from hfnet_core.version import __version__

__all__ = ["__version__"]
