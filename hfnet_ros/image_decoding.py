"""Pixels of image messages: by our own tables, and by cv_bridge where it is installed and the encoding is not ours."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.images.encodings import layout_of
from hfnet_core.images.messages import decode_compressed_image, decode_raw_image

__all__ = ["decode_compressed_image", "decode_image"]


def decode_image(message: Any) -> NDArray[Any]:
    """A sensor_msgs/Image as [H, W] or [H, W, 3] (RGB), uint8 or uint16. Raises DatasetError."""
    bridge = None if layout_of(str(message.encoding).lower()) else _bridge()
    return decode_raw_image(message) if bridge is None else _bridged(bridge, message)


def _bridged(bridge: Any, message: Any) -> NDArray[Any]:
    try:
        pixels = np.asarray(bridge.imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # CvBridgeError, cv2.error, and what its C++ side throws
        raise DatasetError(
            f"image encoding {message.encoding!r} is not supported, by cv_bridge neither ({first_line(error)})"
        ) from error
    return np.ascontiguousarray(pixels)


@functools.cache
def _bridge() -> Any:
    """One for all, None where cv_bridge is not installed or does not fit this OpenCV."""
    try:
        from cv_bridge import CvBridge
    except Exception:  # an extension made for another numpy or OpenCV raises whatever it likes
        return None
    return CvBridge()
