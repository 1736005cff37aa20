"""Where the camera of a recording's depth images is, beside the camera whose images they belong to."""

from __future__ import annotations

import logging
import re
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.images.registration import DepthMount
from hfnet_core.recordings.bag_reader import BagReader, Topic
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration import camera_from_info, is_uncalibrated
from hfnet_core.recordings.calibration.recorded import is_rectified
from hfnet_core.recordings.camera_topics import image_name
from hfnet_core.recordings.depth.layouts import info_of, registered_depth
from hfnet_core.types import Camera

__all__ = ["recorded_mount"]

_SAYS_SO = re.compile("registered|aligned|depth_to_")
_log = logging.getLogger(__name__)


def recorded_mount(reader: BagReader, bag: Bag, topic: Topic, message: Any) -> DepthMount | None:
    """From where depth has to be carried into the images; None where it is registered to them.

    message: the first depth image. Depth whose topic says that it is registered, or whose frame is that of the images,
    is so unless options tell of its camera. Else the camera_info beside it and /tf do. Raises DatasetError where these
    are missing; depth that somebody names, or that its driver registers unless told otherwise, is registered then.
    """
    options, base = bag.options, image_name(topic)
    frame = str(message.header.frame_id).lstrip("/")
    asked = options.depth_camera_info_topic is not None or options.camera_from_depth is not None
    if not asked and (_SAYS_SO.search(base) is not None or frame == bag.camera_frame):
        return None
    usual = base in registered_depth(image_name(bag.image_topic))
    try:
        return _mount(reader, bag, base, frame)
    except DatasetError as error:
        if asked or not (usual or options.depth_topic is not None):
            raise
        if not usual:
            _log.warning("%s; it is taken to be registered", error)
        return None


def _mount(reader: BagReader, bag: Bag, depth: str, frame: str) -> DepthMount:
    """depth: the topic of depth images without transport. frame: theirs."""
    info = bag.options.depth_camera_info_topic or info_of(depth)
    camera = _camera(reader, info, rectified=is_rectified(depth))
    what = f"{reader.path}: {depth} is not registered to the images"
    if camera is None:
        raise DatasetError(f"{what}, and {info} has no calibration: name its topic with --depth-camera-info-topic")
    if bag.camera_unknown:
        raise DatasetError(f"{what}, and these have no calibration: pass --calibration FILE")
    camera_from_depth = bag.options.camera_from_depth
    if camera_from_depth is None:
        depth_from_camera = Pose() if frame == bag.camera_frame else bag.fixed(frame)
        if depth_from_camera is None:
            raise DatasetError(
                f"{what}, and /tf does not tell where its frame {frame!r} is beside {bag.camera_frame!r}: pass "
                "--camera-from-depth 'x y z qx qy qz qw'"
            )
        camera_from_depth = depth_from_camera.inverse()
    return DepthMount(camera, camera_from_depth)


def _camera(reader: BagReader, info: str, *, rectified: bool) -> Camera | None:
    """The first calibration of a topic, None where there is none. Raises DatasetError for one that cannot be true."""
    for _, _, message in reader.messages([info]):
        if not is_uncalibrated(message):
            try:
                return camera_from_info(message, rectified=rectified)
            except DatasetError as error:
                raise DatasetError(f"{reader.path}: topic {info}: {error}") from error
    return None
