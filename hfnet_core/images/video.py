"""Video in messages: one packet of H.264, H.265 and the like in each, decoded by PyAV where it is installed.

A packet needs those before it, back to the last key frame; without them a decoder invents a picture, so nothing counts
before the first key frame and nothing that the decoder calls corrupt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.limits import IMAGE

__all__ = ["Codec", "VideoDecoder", "codec_of"]


@dataclass(frozen=True)
class Codec:
    """name: FFmpeg's. title: for people. key_units: types of the units that begin a picture which needs no other."""

    name: str
    title: str
    key_units: frozenset[int] = frozenset()


_H264 = Codec("h264", "H.264", frozenset({5, 7}))  # IDR, sequence parameters (ITU-T H.264, table 7-1)
_H265 = Codec("hevc", "H.265", frozenset({16, 17, 18, 19, 20, 21, 32, 33}))  # random access, VPS, SPS (H.265, 7-1)
_NAMES = (
    (re.compile(r"h\.?264|x264|\bavc1?\b"), _H264),
    (re.compile(r"h\.?265|x265|\bhevc|\bhvc1\b"), _H265),
    (re.compile(r"\bav1\b"), Codec("av1", "AV1")),
    (re.compile(r"\bvp9\b"), Codec("vp9", "VP9")),
)
_H265_BEGINS = (0x40, 0x42, 0x44, 0x46, 0x26, 0x2A)  # VPS, SPS, PPS, delimiter, IDR, CRA; of no H.264 unit that begins
_START = re.compile(rb"\x00?\x00\x00\x01(.)", re.DOTALL)


def codec_of(declared: str, beginning: bytes = b"") -> Codec | None:
    """The codec of a compressed image by its format, or by its first bytes; None where it is no video."""
    for pattern, codec in _NAMES:
        if pattern.search(declared.lower()):
            return codec
    unit = _START.match(beginning)  # no format of pictures begins like this
    if unit is None:
        return None
    return _H265 if unit[1][0] in _H265_BEGINS else _H264


class VideoDecoder:
    """Packets in order of decoding to pictures. Raises DatasetError where PyAV is not installed."""

    def __init__(self, codec: Codec) -> None:
        try:
            import av
        except ImportError as error:
            raise DatasetError(
                f"is {codec.title} video, for which PyAV is needed: pip install 'hfnet_ros[video]' (or av)"
            ) from error
        self._av, self._codec, self._started = av, codec, False
        self._context: Any = av.CodecContext.create(codec.name, "r")
        self._context.thread_count = 1
        av.logging.set_level(av.logging.PANIC)  # what is wrong is told by what we raise

    def feed(self, number: int, data: bytes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """(number of its packet, RGB [H, W, 3]) of every picture that is ready with this packet.

        Raises DatasetError for a packet before the first key frame, or a damaged one.
        """
        if not self._started and not self._is_key(data):
            raise DatasetError(f"{self._codec.title} video before its first key frame")
        self._started = True
        packet = self._av.Packet(data)
        packet.pts = packet.dts = number
        yield from self._decoded(packet)

    def flush(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The pictures that were waiting for more packets."""
        if self._started:
            yield from self._decoded(None)

    def _decoded(self, packet: Any) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        try:
            frames = self._context.decode(packet)
        except self._av.FFmpegError as error:
            raise DatasetError(f"damaged {self._codec.title} video ({first_line(error)})") from error
        for frame in frames:
            if frame.width * frame.height > IMAGE.value():
                raise DatasetError(f"video of {frame.width}x{frame.height} pixels is more than the limit of {IMAGE}")
            if not frame.is_corrupt and frame.pts is not None:
                yield int(frame.pts), frame.to_ndarray(format="rgb24")

    def _is_key(self, data: bytes) -> bool:
        if not self._codec.key_units:
            return True  # these containers hold back what they cannot decode
        shift, mask = (1, 0x3F) if self._codec is _H265 else (0, 0x1F)
        return any(unit[1][0] >> shift & mask in self._codec.key_units for unit in _START.finditer(data))
