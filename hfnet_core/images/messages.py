"""From sensor_msgs images (any ROS version, duck-typed) to arrays in RGB order."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.encoded import decode
from hfnet_core.images.orientation import AS_STORED

__all__ = ["decode_compressed_image", "decode_raw_image"]

Image = NDArray[Any]

_PLAIN = {
    "mono8": (np.uint8, 1), "8uc1": (np.uint8, 1), "mono16": (np.uint16, 1), "16uc1": (np.uint16, 1),
    "rgb8": (np.uint8, 3), "bgr8": (np.uint8, 3), "8uc3": (np.uint8, 3), "rgb16": (np.uint16, 3),
    "bgr16": (np.uint16, 3), "rgba8": (np.uint8, 4), "bgra8": (np.uint8, 4), "8uc4": (np.uint8, 4),
}  # fmt: skip
# OpenCV names a Bayer pattern by its second row, second and third column; ROS by its first two pixels.
_BAYER = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB, "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB, "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}  # fmt: skip
_YUV = {"yuv422": cv2.COLOR_YUV2RGB_UYVY, "uyvy": cv2.COLOR_YUV2RGB_UYVY,
        "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2, "yuyv": cv2.COLOR_YUV2RGB_YUY2}  # fmt: skip


def decode_raw_image(message: Any) -> Image:
    """A sensor_msgs/Image as [H, W] or [H, W, 3] (RGB), uint8 or uint16. Alpha is dropped.

    Row step and byte order of the message are honoured. OpenCV type names (8UC3) are taken as BGR, as cv_bridge does.
    Raises DatasetError for an unknown encoding or a size that does not fit the data.
    """
    encoding = str(message.encoding).lower()
    bayer = encoding[:10] if encoding[:10] in _BAYER else ""
    if bayer:
        dtype, channels = (np.uint16 if encoding.endswith("16") else np.uint8), 1
    elif encoding in _YUV:
        dtype, channels = np.uint8, 2
    elif encoding in _PLAIN:
        dtype, channels = _PLAIN[encoding]
    else:
        known = ", ".join([*_PLAIN, *(f"{name}8" for name in _BAYER), *_YUV])
        raise DatasetError(f"image encoding {message.encoding!r} is not supported; use one of {known}")
    pixels = _pixels(message, np.dtype(dtype), channels)
    if bayer:
        return np.asarray(cv2.cvtColor(pixels, _BAYER[bayer]))
    if encoding in _YUV:
        return np.asarray(cv2.cvtColor(pixels, _YUV[encoding]))
    if channels == 1:
        return pixels
    blue_first = encoding.startswith("bgr") or encoding.startswith("8uc")
    return np.ascontiguousarray(pixels[:, :, 2::-1] if blue_first else pixels[:, :, :3])


def _pixels(message: Any, dtype: np.dtype[Any], channels: int) -> Image:
    """The pixels of a message as [H, W] or [H, W, channels], padding removed, in native byte order."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(np.asarray(message.data, dtype=np.uint8).tobytes(), dtype=np.uint8)
    row = width * channels * dtype.itemsize
    step = row if height == 1 else step or row  # no row follows whose place it could tell
    if height <= 0 or width <= 0:
        raise DatasetError(f"image of size {width}x{height} is empty")
    if step < row or data.size < step * (height - 1) + row:
        raise DatasetError(
            f"image {width}x{height} {message.encoding} with step {step} needs {step * height} bytes, has {data.size}"
        )
    padded = np.zeros(step * height, dtype=np.uint8)  # the last row may lack its padding
    padded[: min(data.size, padded.size)] = data[: padded.size]
    packed = np.ascontiguousarray(padded.reshape(height, step)[:, :row])
    pixels = packed.view(dtype)
    if dtype.itemsize > 1 and bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def decode_compressed_image(message: Any) -> Image:
    """A sensor_msgs/CompressedImage (jpeg, png, ...) as [H, W] or [H, W, 3] (RGB), uint8 or uint16.

    Raises DatasetError when the data is no image that can be read, or one of more pixels than the limit.
    """
    data = np.frombuffer(np.asarray(message.data, dtype=np.uint8).tobytes(), dtype=np.uint8)
    declared = str(message.format)
    if "compressedDepth" in declared:
        raise DatasetError(f"compressed image of format {declared!r} is depth, not a picture; choose another topic")
    image = decode(data, AS_STORED) if data.size else None  # the calibration belongs to these pixels
    if image is None:
        raise DatasetError(f"compressed image ({declared!r}, {data.size} bytes) cannot be decoded; is it damaged?")
    if image.ndim == 2:
        return np.asarray(image)
    # image_transport writes the layout of the decoded data: "rgb8; jpeg compressed bgr8" decodes to BGR as OpenCV does.
    return np.ascontiguousarray(image[:, :, 2::-1])
