"""Which topics of a bag are a camera's: its images, and the calibration that belongs to them."""

from __future__ import annotations

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_core.recordings.options import BagOptions

__all__ = ["COMPRESSED", "RAW", "choose_image_topic", "choose_info_topic", "image_name"]

RAW, COMPRESSED, _INFO = "sensor_msgs/Image", "sensor_msgs/CompressedImage", "sensor_msgs/CameraInfo"
_TRANSPORTS = ("compressed", "compressedDepth", "theora", "zstd")


def choose_image_topic(reader: BagReader, options: BagOptions) -> Topic:
    """The topic that options name, or the only one. Raises DatasetError listing what there is."""
    if options.image_topic is not None:
        topic = reader.topic(options.image_topic)
        if topic.type not in (RAW, COMPRESSED):
            raise DatasetError(f"{reader.path}: {topic} holds no images")
        return topic
    found = reader.of_type(RAW, COMPRESSED)
    names = {topic.name for topic in found}
    # image_transport records one picture several times; the raw one loses nothing.
    found = [topic for topic in found if not any(topic.name == f"{n}/{t}" for n in names for t in _TRANSPORTS)]
    if not found:
        listed = ", ".join(str(topic) for topic in reader.topics) or "nothing"
        raise DatasetError(f"{reader.path}: has no image topic; it has {listed}")
    if len(found) > 1:
        listed = ", ".join(str(topic) for topic in found)
        raise DatasetError(f"{reader.path}: several image topics, choose one with --image-topic: {listed}")
    return found[0]


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
    for name in (f"{image.rsplit('/', 1)[0]}/camera_info", f"{image}/camera_info"):
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
