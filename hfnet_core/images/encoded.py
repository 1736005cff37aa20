"""Encoded images: how large they say they are, before anybody makes room for their pixels.

A PNG of 65535 x 65535 pixels may have a few kilobytes. Only JPEG, PNG, WebP, TIFF, BMP and PNM are decoded; OpenCV
knows more, whose decoders are less well tried.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.limits import IMAGE

__all__ = ["decode", "encoded_size"]

_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # markers of frames, which tell the size
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_TIFF_SIZES = {1: "B", 3: "H", 4: "I"}  # types of a width or height: byte, short, long
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_PNM_HEADER, _WEBP_HEADER = 4096, 32  # bytes; of PNM with remarks

_PNG, _PNG_CHANNELS = b"\x89PNG", {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEFLATE = 1032  # bytes of a byte: no more fit into deflate

Content = bytes | memoryview


def decode(encoded: NDArray[np.uint8], flags: int) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """[H, W] or [H, W, 3] (BGR) of an encoded image, None where it is damaged or of a format that is not read.

    flags: of cv2.imdecode. Raises DatasetError for an image of more pixels than the limit.
    """
    size = encoded_size(encoded.data)
    if size is None:
        return None
    width, height = size
    if width * height > IMAGE.value():
        raise DatasetError(f"image of {width}x{height} pixels is more than the limit of {IMAGE}")
    if not _may_hold_its_pixels(encoded.data):
        return None
    try:
        image = cv2.imdecode(encoded, flags)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image)


def encoded_size(content: Content) -> tuple[int, int] | None:
    """(width, height) as the header tells them, None where it is none of a format that is read."""
    head = bytes(content[:8])
    reader = next((read for start, read in _READERS if head.startswith(start)), None)
    try:
        return reader(content) if reader is not None else None
    except struct.error:  # cut off
        return None


def _jpeg(content: Content) -> tuple[int, int] | None:
    """Of the first frame: segments before it are stepped over."""
    position = 2
    while position + 9 <= len(content):
        if content[position] != 0xFF:
            return None
        marker = content[position + 1]
        if marker == 0xFF or marker in _JPEG_BARE:
            position += 1 if marker == 0xFF else 2
            continue
        length, height, width = struct.unpack_from(">HxHH", content, position + 2)  # a byte of precision between
        if marker in _JPEG_FRAMES:
            return width, height
        position += 2 + length
    return None


def _may_hold_its_pixels(content: Content) -> bool:
    """Whether a PNG is long enough for its size: OpenCV takes 18 bytes for each pixel before it misses the first."""
    if bytes(content[: len(_PNG)]) != _PNG or len(content) < 26:
        return True
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    row = 1 + (width * depth * _PNG_CHANNELS.get(colour, 0) + 7) // 8
    return bool(height * row <= _DEFLATE * len(content))


def _png(content: Content) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def _pnm(content: Content) -> tuple[int, int] | None:
    found = _PNM.match(bytes(content[:_PNM_HEADER]))
    return (int(found[1]), int(found[2])) if found else None


def _bmp(head: Content) -> tuple[int, int]:
    old = struct.unpack_from("<I", head, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", head, 18)
    return abs(width), abs(height)  # negative: from top to bottom


def _webp(content: Content) -> tuple[int, int] | None:
    head = bytes(content[:_WEBP_HEADER])
    kind = head[12:16] if head[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", head, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(content: Content) -> tuple[int, int] | None:
    """Of the first page."""
    order = "<" if content[0] == ord("I") else ">"
    start = struct.unpack_from(order + "I", content, 4)[0]
    found: dict[int, int] = {}
    for index in range(struct.unpack_from(order + "H", content, start)[0]):
        at = start + 2 + 12 * index
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag in (256, 257) and kind in _TIFF_SIZES:
            found[tag] = struct.unpack_from(order + _TIFF_SIZES[kind], content, at + 8)[0]
    return (found[256], found[257]) if len(found) == 2 else None


_READERS: tuple[tuple[bytes, Callable[[Content], tuple[int, int] | None]], ...] = (
    (b"\xff\xd8", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    (b"BM", _bmp),
    (b"P", _pnm),
)
