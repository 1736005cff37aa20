"""The pictures of an image topic in order: images decoded one by one, or video, whose pictures need those before."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.messages import bytes_of, decode_compressed_image, decode_raw_image
from hfnet_core.images.sixteen_bit import FULL_BITS, at_full_range
from hfnet_core.images.video import Codec, VideoDecoder, codec_of
from hfnet_core.recordings.camera_topics import FFMPEG_VIDEO, FOXGLOVE_VIDEO

__all__ = ["Picture", "image_messages", "pictures"]


@dataclass(frozen=True, eq=False)
class Picture:
    """One message of an image topic.

    index: its position in the topic, from 0. message: with header and data, whatever its type. image: [H, W] or
    [H, W, 3] RGB, uint8 or uint16 at full range; None where it cannot be had, and then error says why.
    """

    index: int
    recorded_ns: int
    message: Any
    image: NDArray[Any] | None
    error: str = ""


def image_messages(messages: Iterable[tuple[str, int, Any]], kind: str) -> Iterator[tuple[int, Any]]:
    """(time of recording, message) of a topic of this type; video looks like compressed images."""
    for _, recorded_ns, message in messages:
        yield recorded_ns, _as_compressed(message, kind)


def _as_compressed(message: Any, kind: str) -> Any:
    if kind == FOXGLOVE_VIDEO:
        header = SimpleNamespace(stamp=message.timestamp, frame_id=message.frame_id)
        return SimpleNamespace(header=header, format=message.format, data=message.data)
    if kind == FFMPEG_VIDEO:
        return SimpleNamespace(header=message.header, format=message.encoding, data=message.data)
    return message


def pictures(
    messages: Iterable[tuple[int, Any]], *, raw: bool, wanted: Collection[int] | None = None, bits: int = FULL_BITS
) -> Iterator[Picture]:
    """The pictures of messages, all or those with the given indices; others are decoded only where video needs them.

    raw: sensor_msgs/Image. bits: that 16-bit images hold. Raises DatasetError for video where PyAV is not installed.
    """
    video: _Video | None = None
    for index, (recorded_ns, message) in enumerate(messages):
        if video is None and not raw:
            codec = _codec_of(message)
            video = _Video(codec, wanted) if codec is not None else None
        if video is not None:
            yield from video.feed(index, recorded_ns, message)
        elif wanted is None or index in wanted:
            yield _decoded(index, recorded_ns, message, raw, bits)
    if video is not None:
        yield from video.flush()


def _codec_of(message: Any) -> Codec | None:
    return codec_of(str(message.format), bytes(message.data[:8]))


def _decoded(index: int, recorded_ns: int, message: Any, raw: bool, bits: int) -> Picture:
    try:
        image = decode_raw_image(message) if raw else decode_compressed_image(message)
    except DatasetError as error:
        return Picture(index, recorded_ns, message, None, str(error))
    return Picture(index, recorded_ns, message, at_full_range(image, bits))


class _Video:
    """Pictures come when the decoder has them, which may be some messages later."""

    def __init__(self, codec: Codec, wanted: Collection[int] | None) -> None:
        self._decoder, self._wanted = VideoDecoder(codec), wanted
        self._waiting: dict[int, tuple[int, Any]] = {}

    def feed(self, index: int, recorded_ns: int, message: Any) -> Iterator[Picture]:
        self._waiting[index] = recorded_ns, message
        try:
            for number, image in self._decoder.feed(index, bytes_of(message)):
                yield from self._picture(number, image)
        except DatasetError as error:
            yield from self._picture(index, None, str(error))

    def flush(self) -> Iterator[Picture]:
        for number, image in self._decoder.flush():
            yield from self._picture(number, image)
        for number in sorted(self._waiting):
            yield from self._picture(number, None, "the video holds no whole picture here")

    def _picture(self, number: int, image: NDArray[Any] | None, error: str = "") -> Iterator[Picture]:
        known = self._waiting.pop(number, None)
        if known is not None and (self._wanted is None or number in self._wanted):
            yield Picture(number, known[0], known[1], image, error)
