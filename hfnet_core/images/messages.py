"""From sensor_msgs images (any ROS version, duck-typed) to arrays in RGB order."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.encoded import decode
from hfnet_core.images.encodings import (
    KNOWN,
    THREE_PLANES,
    Layout,
    converted,
    demosaiced,
    layout_of,
    planar_size,
    planar_to_rgb,
)
from hfnet_core.images.orientation import AS_STORED
from hfnet_core.images.video import codec_of
from hfnet_core.limits import IMAGE

__all__ = ["bytes_of", "decode_compressed_image", "decode_raw_image", "rows_of", "size_of"]

Image = NDArray[Any]

# What image_transport writes: "bayer_rggb8; png compressed ", with the layout of the compressed pixels at the end.
_TRANSPORTED = re.compile(r"\s*([a-z0-9_]+)\s*;\s*(\w+) compressed\s*([a-z0-9_]*)\s*")


def decode_raw_image(message: Any) -> Image:
    """A sensor_msgs/Image as [H, W] or [H, W, 3] (RGB), uint8 or uint16. Alpha is dropped.

    Row step and byte order of the message are honoured. OpenCV type names (8UC3) are taken as BGR, as cv_bridge does.
    Values of 10, 12 or 14 bits by their encoding's name are moved to the top of 16; where only the values tell, see
    sixteen_bit.py. Raises DatasetError for an unknown encoding or a size that does not fit the data.
    """
    encoding = str(message.encoding).lower()
    layout = layout_of(encoding)
    if layout is None:
        raise DatasetError(f"image encoding {message.encoding!r} is not supported; use one of {', '.join(KNOWN)}")
    if layout.planar:
        return planar_to_rgb(_planes(message, encoding), encoding, int(message.height))
    pixels = _pixels(message, layout)
    if pixels.dtype == np.uint16 and layout.bits < 16:
        pixels = np.minimum(pixels, (1 << layout.bits) - 1) << (16 - layout.bits)
    if layout.colour is not None:
        return converted(pixels, layout.colour)
    if layout.channels == 1:
        return pixels
    return np.ascontiguousarray(pixels[:, :, 2::-1] if layout.blue_first else pixels[:, :, :3])


def bytes_of(message: Any) -> bytes:
    """The data of an image message, whatever the library holds it in."""
    data = message.data
    return data if isinstance(data, bytes) else np.asarray(data, dtype=np.uint8).tobytes()


def _pixels(message: Any, layout: Layout) -> Image:
    """The pixels of a message as [H, W] or [H, W, channels], padding removed, in native byte order."""
    height, width, step = size_of(message)
    dtype, channels = np.dtype(layout.dtype), layout.channels
    packed = rows_of(message, height, width * channels * dtype.itemsize, step)
    pixels: Image = packed.view(dtype)
    if dtype.itemsize > 1 and bool(message.is_bigendian) != (sys.byteorder == "big"):
        pixels = pixels.byteswap()
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def _planes(message: Any, encoding: str) -> Image:
    """Luminance and colour [planar_size, W] uint8."""
    height, width, step = size_of(message)
    if width % 2 or height % 2:
        raise DatasetError(f"image of size {width}x{height} is not even, as {encoding} must be")
    rows, available = planar_size(encoding, height), len(message.data)
    if rows * step > available >= rows * width:  # some drivers give the bytes of all planes by the image's rows
        step = width
    if step <= width or step % 2 or encoding not in THREE_PLANES:
        return rows_of(message, rows, width, step)
    # two rows of a colour's plane, each with padding of its own, in one row of the luminance
    padded = rows_of(message, rows, step, step)
    colours = padded[height:].reshape(height, step // 2)[:, : width // 2]
    return np.ascontiguousarray(np.concatenate([padded[:height, :width], colours.reshape(-1, width)]))


def size_of(message: Any) -> tuple[int, int, int]:
    """(height, width, step) of a raw image. Raises DatasetError for one that is empty or beyond the limit."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height <= 0 or width <= 0:
        raise DatasetError(f"image of size {width}x{height} is empty")
    if height * width > IMAGE.value():
        raise DatasetError(f"image of {height * width / 1e6:.0f} megapixels, more than the limit of {IMAGE}")
    return height, width, step


def rows_of(message: Any, rows: int, row: int, step: int) -> Image:
    """[rows, row] bytes, the padding between them removed. step: from one row to the next, 0 for no padding."""
    data = np.frombuffer(bytes_of(message), dtype=np.uint8)
    step = row if rows == 1 else step or row  # no row follows whose place it could tell
    if step < row or data.size < step * (rows - 1) + row:
        raise DatasetError(
            f"image {message.width}x{message.height} {message.encoding} with step {step} needs {step * rows} bytes, "
            f"has {data.size}"
        )
    padded = np.zeros(step * rows, dtype=np.uint8)  # the last row may lack its padding
    padded[: min(data.size, padded.size)] = data[: padded.size]
    return np.ascontiguousarray(padded.reshape(rows, step)[:, :row])


def decode_compressed_image(message: Any) -> Image:
    """A sensor_msgs/CompressedImage (jpeg, png, ...) as [H, W] or [H, W, 3] (RGB), uint8 or uint16.

    A Bayer mosaic inside is turned into colours. Raises DatasetError when the data is no image that can be read, one of
    more pixels than the limit, depth, or video, whose images cannot be told one by one.
    """
    data = np.frombuffer(bytes_of(message), dtype=np.uint8)
    declared = str(message.format)
    if "compressedDepth" in declared:
        raise DatasetError(f"compressed image of format {declared!r} is depth, not a picture; choose another topic")
    codec = codec_of(declared, data[:8].tobytes())
    if codec is not None:
        raise DatasetError(
            f"is {codec.title} video, whose images need the ones before: decode it into images (image_transport's "
            "republish), or record a bag, which is read with PyAV (pip install 'hfnet_ros[video]')"
        )
    image = decode(data, AS_STORED) if data.size else None  # the calibration belongs to these pixels
    if image is None:
        raise DatasetError(f"compressed image ({declared!r}, {data.size} bytes) cannot be decoded; is it damaged?")
    if image.ndim == 2:
        return _demosaiced(np.asarray(image), declared.lower())
    # image_transport writes the layout of the decoded data: "rgb8; jpeg compressed bgr8" decodes to BGR as OpenCV does.
    return np.ascontiguousarray(image[:, :, 2::-1])


def _demosaiced(image: Image, declared: str) -> Image:
    """RGB where the format says that the gray image is a mosaic; one that was made gray before says mono."""
    transported = _TRANSPORTED.fullmatch(declared)
    original, kept = (transported[1], transported[3]) if transported else (declared.strip(), "")
    mosaic = demosaiced(image, original) if not kept or kept.startswith("bayer") else None
    return image if mosaic is None else mosaic
