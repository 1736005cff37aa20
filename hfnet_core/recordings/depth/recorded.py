"""The depth images of a recording, by the stamps of its colour images."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.images.depth import DepthImage, decode_compressed_depth, decode_depth, ranges_at
from hfnet_core.images.registration import DepthMount, register
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.camera_topics import COMPRESSED, RAW, image_name
from hfnet_core.recordings.depth.by_stamp import ByStamp
from hfnet_core.recordings.depth.layouts import NO_DEPTH, depth_topics_of
from hfnet_core.recordings.depth.mounting import recorded_mount
from hfnet_core.types import Camera, Features, Ranges

__all__ = ["RecordedDepth", "recorded_depth"]

_log = logging.getLogger(__name__)
_TOGETHER_NS = 20_000_000  # colour and depth that are not triggered together differ by half a frame


@contextmanager
def recorded_depth(bag: Bag) -> Iterator[RecordedDepth]:
    """The depth of a bag's images: of the topic that its options name, or the one that its driver's layout names; an
    empty one without either. Raises DatasetError for a named topic that has no depth, or none that can be used."""
    with BagReader(bag.path) as reader:
        yield _choose(reader, bag)


def _choose(reader: BagReader, bag: Bag) -> RecordedDepth:
    wanted = bag.options.depth_topic
    if wanted == NO_DEPTH:
        return RecordedDepth(reader, None)
    if wanted is not None:
        topic = reader.topic(wanted)
        if topic.type not in (RAW, COMPRESSED):
            raise DatasetError(f"{reader.path}: {topic} holds no depth images")
        return RecordedDepth(reader, topic, _mount(reader, bag, topic))
    known = {topic.name: topic for topic in reader.of_type(RAW, COMPRESSED)}
    found = (_usable(reader, bag, known[name]) for name in depth_topics_of(image_name(bag.image_topic), known))
    return next((depth for depth in found if depth is not None), RecordedDepth(reader, None))


def _usable(reader: BagReader, bag: Bag, topic: Topic) -> RecordedDepth | None:
    """Depth that nobody has named, None where it is none or cannot be brought to the images. Raises DatasetError where
    somebody has told of its camera in vain."""
    try:
        return RecordedDepth(reader, topic, _mount(reader, bag, topic))
    except DatasetError as error:
        if bag.options.depth_camera_info_topic is not None:
            raise
        _log.warning("%s; its depth is not used", error)
        return None


def _mount(reader: BagReader, bag: Bag, topic: Topic) -> DepthMount | None:
    """From where its depth has to be carried into the images, None where it is registered. Raises DatasetError where
    its first image is no depth, or that cannot be known."""
    for _, _, message in reader.messages([topic.name]):
        try:
            _decoded(topic, message)
        except DatasetError as error:
            raise DatasetError(f"{reader.path}: topic {topic.name}: {error}") from error
        return recorded_mount(reader, bag, topic, message)
    return None


def _decoded(topic: Topic, message: Any) -> DepthImage:
    return decode_depth(message) if topic.type == RAW else decode_compressed_depth(message)


class RecordedDepth:
    """Asked for in the order of recording. topic: None for a recording without depth. mount: of depth that is not
    registered to the images."""

    def __init__(self, reader: BagReader, topic: Topic | None, mount: DepthMount | None = None) -> None:
        self.topic, self.mount, self._path = topic, mount, reader.path
        self._messages = None if topic is None else ByStamp(reader, topic.name, _TOGETHER_NS)
        self.used = 0
        """How many images had a depth image."""
        self._complained = False

    def at(self, stamp_ns: int) -> DepthImage | None:
        """The depth image nearest to the stamp, at most 20 ms away; None without, or where it is damaged."""
        if self.topic is None or self._messages is None:
            return None
        message = self._messages.nearest(stamp_ns)
        if message is None:
            return None
        try:
            return _decoded(self.topic, message)
        except DatasetError as error:
            self._complain(error)
            return None

    def ranges(self, stamp_ns: int, features: Features, camera: Camera) -> Ranges | None:
        """How far away the keypoints of an image of this time are, which the camera took; None without depth."""
        depth = self.at(stamp_ns)
        if depth is None:
            return None
        try:
            depth = depth if self.mount is None else register(depth, self.mount, camera)
            found = ranges_at(depth, features.keypoints_px, features.width, features.height)
        except DatasetError as error:
            self._complain(error)
            return None
        self.used += 1
        return found

    def _complain(self, error: DatasetError) -> None:
        if not self._complained:
            _log.warning("%s: topic %s: %s", self._path, self.topic, error)
        self._complained = True
