"""Which way is up in a photo: phones store pixels as the sensor was held, with the orientation in EXIF.

A calibration belongs to the pixels as they are stored, or as a viewer shows them: its size tells, where it is given.
Without one upright is right: what the network learned is upright.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.images.encoded import decode

__all__ = ["AS_STORED", "decode_photo", "upright_jpeg"]

_UPRIGHT = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH  # OpenCV applies the orientation
AS_STORED = _UPRIGHT | cv2.IMREAD_IGNORE_ORIENTATION
_QUALITY = 95
_EXIF = b"Exif\x00\x00"
_HEADER = 4  # bytes of the EXIF segment before that: marker and length
_LATEST = 65536  # where in a file it may begin
# Tag 0x0112, type SHORT, count 1, value: EXIF 2.3, in both byte orders; value 1 is upright.
_ORIENTATION = re.compile(
    rb"(\x01\x12\x00\x03\x00\x00\x00\x01\x00|\x12\x01\x03\x00\x01\x00\x00\x00)([\x02-\x08])", re.DOTALL
)


def decode_photo(
    encoded: NDArray[np.uint8], calibrated: tuple[int, int] | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """[H, W] or [H, W, 3] (BGR) of an encoded image, None where it is damaged.

    calibrated: (width, height) of its calibration; pixels that have this size as they are stored are not turned.
    Raises DatasetError for an image of more pixels than the limit.
    """
    if not encoded.size:
        return None
    image = decode(encoded, _UPRIGHT if calibrated is None else AS_STORED)
    if calibrated is not None and image is not None and image.shape[1::-1] != calibrated:
        image = decode(encoded, _UPRIGHT)
    return image


def upright_jpeg(encoded: bytes, calibrated: tuple[int, int] | None = None) -> bytes:
    """A JPEG whose pixels are stored upright, with the rest of its EXIF; the same bytes where nothing is to be turned.

    calibrated: (width, height) of its calibration: only an image that has it upright, and not as stored, is turned.
    """
    start = encoded.find(_EXIF, 0, _LATEST) - _HEADER
    if start < 0:
        return encoded
    length = int.from_bytes(encoded[start + 2 : start + _HEADER], "big") + 2
    segment, turned = _ORIENTATION.subn(rb"\g<1>" + b"\x01", encoded[start : start + length], count=1)
    if not turned:
        return encoded
    data = np.frombuffer(encoded, np.uint8)
    upright = decode_photo(data)
    if upright is None:
        return encoded  # damaged: for the reader to say
    if calibrated is not None:
        stored = decode(data, AS_STORED)
        if stored is None or stored.shape[1::-1] == calibrated or upright.shape[1::-1] != calibrated:
            return encoded
    written = cv2.imencode(".jpg", upright, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    return written[:2] + segment + written[2:]
