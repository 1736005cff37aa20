"""The right images of a rectified stereo pair in a recording, by the stamps of the left ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.images.messages import decode_compressed_image, decode_raw_image
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration.recorded import is_rectified
from hfnet_core.recordings.calibration.ros import camera_from_info, is_uncalibrated
from hfnet_core.recordings.camera_topics import COMPRESSED, RAW, image_name
from hfnet_core.recordings.depth.by_stamp import ByStamp
from hfnet_core.recordings.depth.layouts import NO_DEPTH, right_of

__all__ = ["RecordedPair", "recorded_pair"]

_log = logging.getLogger(__name__)
_TOGETHER_NS = 5_000_000
_TRANSPORTS = ("", "/compressed")


@dataclass(frozen=True, eq=False)
class RecordedPair:
    """topic: of the right images. focal_px: of both, baseline_m: between them, by the right camera_info. bits: of a
    pixel of 16-bit images, as the left ones have them."""

    topic: Topic
    focal_px: float
    baseline_m: float
    messages: ByStamp
    bits: int

    def image(self, stamp_ns: int) -> NDArray[Any] | None:
        """The right image of a stamp, None where there is none or it is damaged."""
        message = self.messages.nearest(stamp_ns)
        if message is None:
            return None
        try:
            image = decode_raw_image(message) if self.topic.type == RAW else decode_compressed_image(message)
            return at_full_range(image, self.bits)
        except DatasetError as error:
            _log.warning("topic %s: %s", self.topic, error)
            return None


@contextmanager
def recorded_pair(bag: Bag) -> Iterator[RecordedPair | None]:
    """The right camera of a rectified pair: of the topic that options name, or beside `left` or `infra1`; None without.

    Raises DatasetError for a named topic whose camera_info tells no baseline.
    """
    with BagReader(bag.path) as reader:
        yield _choose(reader, bag)


def _choose(reader: BagReader, bag: Bag) -> RecordedPair | None:
    wanted, left = bag.options.stereo_topic, image_name(bag.image_topic)
    if wanted == NO_DEPTH:
        return None
    if wanted is not None:
        return _pair(reader, reader.topic(wanted), bag.bits)
    right = right_of(left)
    if not right or not is_rectified(left):
        return None
    known = {topic.name: topic for topic in reader.of_type(RAW, COMPRESSED)}
    for name in (right + transport for transport in _TRANSPORTS):
        if name in known:
            try:
                return _pair(reader, known[name], bag.bits)
            except DatasetError as error:
                _log.warning("%s; the right images are not used", error)
                return None
    return None


def _pair(reader: BagReader, topic: Topic, bits: int) -> RecordedPair:
    """Raises DatasetError."""
    if topic.type not in (RAW, COMPRESSED):
        raise DatasetError(f"{reader.path}: {topic} holds no images")
    info = image_name(topic).rpartition("/")[0] + "/camera_info"
    for _, _, message in reader.messages([info]):
        if is_uncalibrated(message):  # a driver that has only begun
            continue
        projection = [float(value) for value in getattr(message, "p", getattr(message, "P", ()))]
        if len(projection) == 12 and projection[0] > 0 and projection[3] < 0:  # -fx * baseline
            focal_px = camera_from_info(message, rectified=True).focal_length[0]  # as images are delivered
            baseline_m = -projection[3] / projection[0]
            return RecordedPair(topic, focal_px, baseline_m, ByStamp(reader, topic.name, _TOGETHER_NS), bits)
        raise DatasetError(
            f"{reader.path}: {info}: P tells no baseline (-fx times it is the fourth number): is it the right camera "
            "of a rectified pair?"
        )
    raise DatasetError(f"{reader.path}: no calibrated {info} beside {topic.name}, which tells the baseline")
