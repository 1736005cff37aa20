"""Which topics of a bag are a camera's: its images, and the calibration that belongs to them."""

from __future__ import annotations

import re

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_core.recordings.options import BagOptions

__all__ = [
    "COMPRESSED",
    "FFMPEG_VIDEO",
    "FOXGLOVE_VIDEO",
    "RAW",
    "choose_image_topic",
    "choose_info_topic",
    "image_name",
]

RAW, COMPRESSED, _INFO = "sensor_msgs/Image", "sensor_msgs/CompressedImage", "sensor_msgs/CameraInfo"
FOXGLOVE_VIDEO, FFMPEG_VIDEO = "foxglove_msgs/CompressedVideo", "ffmpeg_image_transport_msgs/FFMPEGPacket"
_IMAGES = (RAW, COMPRESSED, FOXGLOVE_VIDEO, FFMPEG_VIDEO)
_TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd", "ffmpeg")

_FLOAT, _SIXTEEN_BIT = ("32FC", "64FC"), ("16UC1", "mono16")
_DEPTH_NAME = re.compile("depth|disparity|distance|range", re.IGNORECASE)


def image_topics(reader: BagReader) -> list[Topic]:
    """Every topic with pictures, by name."""
    return reader.of_type(*_IMAGES)


def choose_image_topic(reader: BagReader, options: BagOptions) -> Topic:
    """The topic that options name, or the only one. Raises DatasetError listing what there is."""
    if options.image_topic is not None:
        topic = reader.topic(options.image_topic)
        if topic.type not in _IMAGES:
            raise DatasetError(f"{reader.path}: {topic} holds no images")
        return topic
    found = image_topics(reader)
    names = {topic.name for topic in found}
    # image_transport records one picture several times; the raw one loses nothing.
    found = [topic for topic in found if not any(topic.name == f"{n}/{t}" for n in names for t in _TRANSPORTS)]
    if not found:
        listed = ", ".join(str(topic) for topic in reader.topics) or "nothing"
        raise DatasetError(f"{reader.path}: has no image topic; it has {listed}")
    pictures = [topic for topic in found if not _is_depth(reader, topic)]
    if not pictures:
        listed = ", ".join(str(topic) for topic in found)
        raise DatasetError(
            f"{reader.path}: its only images are depth ({listed}), which shows no texture: record the colour or "
            "infrared image too"
        )
    found = pictures
    if len(found) > 1:
        listed = ", ".join(str(topic) for topic in found)
        raise DatasetError(f"{reader.path}: several image topics, choose one with --image-topic: {listed}")
    return found[0]


def _is_depth(reader: BagReader, topic: Topic) -> bool:
    """Whether images hold distances: by their encoding, or by 16 bits and what the topic is called."""
    for _, _, message in reader.messages([topic.name]):
        layout = str(getattr(message, "encoding", "") or getattr(message, "format", ""))
        if layout.startswith(_FLOAT) or "compressedDepth" in layout:
            return True
        return layout.startswith(_SIXTEEN_BIT) and _DEPTH_NAME.search(topic.name) is not None
    return False


def choose_info_topic(reader: BagReader, options: BagOptions, image_topic: Topic) -> tuple[Topic | None, bool]:
    """The topic of the calibration, None for none where it is optional; and whether its name says whose it is.

    Raises DatasetError where there is none, or several and nothing tells which.
    """
    if options.camera_info_topic is not None:
        topic = reader.topic(options.camera_info_topic)
        if topic.type != _INFO:
            raise DatasetError(f"{reader.path}: {topic} is no {_INFO}")
        return topic, True
    found = reader.of_type(_INFO)
    image = image_name(image_topic)
    names = [f"{image.rsplit('/', 1)[0]}/camera_info", f"{image}/camera_info"]
    if image.endswith("/image/data"):  # as the RealSense viewer records
        names.append(f"{image.removesuffix('/image/data')}/info/camera_info")
    for name in names:
        beside = [topic for topic in found if topic.name == name]
        if beside:
            return beside[0], True
    if not found and options.camera_optional:
        return None, False
    if not found:
        raise DatasetError(f"{reader.path}: no {_INFO} for {image_topic.name}; pass --calibration FILE")
    if len(found) > 1:
        listed = ", ".join(str(topic) for topic in found)
        raise DatasetError(
            f"{reader.path}: no camera_info topic stands beside {image_topic.name}, choose one with "
            f"--camera-info-topic: {listed}"
        )
    return found[0], False


def image_name(topic: Topic) -> str:
    """The base name of an image topic: without its transport."""
    head, _, tail = topic.name.rpartition("/")
    return head if tail in _TRANSPORTS and head else topic.name
