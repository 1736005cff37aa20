"""The pixels of raw sensor_msgs images, by the names of their encodings.

Names are those of sensor_msgs/image_encodings.hpp, of OpenCV types (8UC3), and what drivers write beside them: planar
YUV (nv12), and sensors of 10, 12 or 14 bits whose values stand in the low bits of 16 (bayer_rggb12, mono10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError

__all__ = ["KNOWN", "THREE_PLANES", "Layout", "converted", "demosaiced", "layout_of", "planar_size", "planar_to_rgb"]

Image = NDArray[Any]

_PLAIN: dict[str, tuple[type[np.uint8] | type[np.uint16], int]] = {
    "mono8": (np.uint8, 1),
    "8uc1": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "16uc1": (np.uint16, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "8uc3": (np.uint8, 3),
    "rgb16": (np.uint16, 3),
    "bgr16": (np.uint16, 3),
    "16uc3": (np.uint16, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "8uc4": (np.uint8, 4),
    "rgba16": (np.uint16, 4),
    "bgra16": (np.uint16, 4),
    "16uc4": (np.uint16, 4),
}
# OpenCV names a Bayer pattern by its second row, second and third column; ROS by its first two pixels.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
_INTERLEAVED = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_PLANAR = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "nv24": cv2.COLOR_YUV2RGB_NV12,
    "i420": cv2.COLOR_YUV2RGB_I420,
    "yuv420p": cv2.COLOR_YUV2RGB_I420,
    "yuv420": cv2.COLOR_YUV2RGB_I420,
    "yv12": cv2.COLOR_YUV2RGB_YV12,
}
THREE_PLANES = ("i420", "yuv420p", "yuv420", "yv12")  # each colour in a plane of its own
_MOSAIC = 3  # fewest rows and columns of a mosaic
_DEEP = re.compile(r"(mono|bayer_(?:rggb|bggr|gbrg|grbg))(8|10|12|14|16)")

KNOWN = (*_PLAIN, "mono10", "mono12", "mono14", *(f"{name}8|10|12|14|16" for name in _BAYER), *_INTERLEAVED, *_PLANAR)


@dataclass(frozen=True)
class Layout:
    """How the bytes of an encoding become pixels.

    bits: that hold the value, of 8 or 16. colour: OpenCV's conversion to RGB, None for gray, RGB or BGR as they are.
    planar: luminance first, then colour, at `planar_size`.
    """

    dtype: type[np.uint8] | type[np.uint16]
    channels: int
    bits: int
    colour: int | None = None
    blue_first: bool = False
    planar: bool = False


def layout_of(encoding: str) -> Layout | None:
    """The layout of an encoding, in lower case; None for one that is no picture, or unknown."""
    deep = _DEEP.fullmatch(encoding)
    if deep:
        bits = int(deep[2])
        return Layout(np.uint8 if bits == 8 else np.uint16, 1, bits, _BAYER.get(deep[1]))
    if encoding in _INTERLEAVED:
        return Layout(np.uint8, 2, 8, _INTERLEAVED[encoding])
    if encoding in _PLANAR:
        return Layout(np.uint8, 1, 8, _PLANAR[encoding], planar=True)
    if encoding not in _PLAIN:
        return None
    dtype, channels = _PLAIN[encoding]
    # OpenCV type names are taken as BGR, as cv_bridge does.
    blue_first = encoding.startswith(("bgr", "8uc", "16uc"))
    return Layout(dtype, channels, 8 * np.dtype(dtype).itemsize, blue_first=blue_first)


def converted(pixels: Image, code: int) -> Image:
    """Pixels through one of OpenCV's conversions. Raises DatasetError for a size that it does not take.

    OpenCV before 4.6 writes past the end where newer ones raise.
    """
    height, width = pixels.shape[:2]
    refusal = DatasetError(
        f"image of size {width}x{height} is none of its encoding, which needs a larger or an even one"
    )
    odd = code in _INTERLEAVED.values() and width % 2
    if odd or (code in _BAYER.values() and min(height, width) < _MOSAIC):
        raise refusal
    try:
        return np.asarray(cv2.cvtColor(pixels, code))
    except cv2.error as error:
        raise refusal from error


def demosaiced(mosaic: Image, encoding: str) -> Image | None:
    """RGB [H, W, 3] of a Bayer mosaic [H, W], None where the encoding names none."""
    deep = _DEEP.fullmatch(encoding)
    if deep is None or deep[1] not in _BAYER:
        return None
    return converted(mosaic, _BAYER[deep[1]])


def planar_size(encoding: str, height: int) -> int:
    """Rows of luminance and colour together, each as long as one of luminance."""
    return 3 * height if encoding == "nv24" else height + height // 2


def planar_to_rgb(rows: Image, encoding: str, height: int) -> Image:
    """RGB [H, W, 3] of rows [planar_size, W] uint8; width and height are even."""
    if encoding == "nv24":  # colour at full resolution, which OpenCV does not know: at half, as in nv12
        width = rows.shape[1]
        colour = rows[height:].reshape(height, width, 2)
        half = cv2.resize(colour, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        rows = np.vstack([rows[:height], half.reshape(height // 2, width)])
    return converted(np.ascontiguousarray(rows), _PLANAR[encoding])
