"""Which way is up: from accelerometers, or from frames that are level by convention."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose
from hfnet_core.images.preparation import ROTATIONS, rotation_by_up
from hfnet_core.recordings.bag_reader import BagReader, stamp_of
from hfnet_core.recordings.transforms import TransformError
from hfnet_core.recordings.trees import SeveralTreesError, Trees

__all__ = ["UpReader", "common_rotation", "level", "mean_up", "read_up", "up_by_frames"]

UpReader = Callable[[int], Array | None]
"""Unit vector [3] away from gravity in the camera frame at a stamp in nanoseconds, None where nothing tells."""

_IMU = "sensor_msgs/Imu"
_WINDOW_S = 0.5  # of accelerations averaged on each side: longer than a step or a brake, shorter than a tilt
_G, _G_TOLERANCE = 9.81, 1.5  # m/s^2: an average further off is of a robot that accelerates, or not in these units
_MIN_SAMPLES = 5
_LEVEL_FRAMES = ("base_footprint", "base_link", "base", "base_stabilized")
_AGREEING = 0.8  # of the images of a camera that is mounted
_FALLEN_DEG = 30.0  # from the direction most agree with: an outlier


def read_up(bag: BagReader, trees: Trees, camera_frame: str) -> tuple[UpReader, str] | None:
    """Up by the first accelerometer whose frame the transforms connect to the camera, and what to call it.

    An accelerometer at rest measures what holds it: an acceleration upwards (REP-145). None where there is none.
    """
    for topic in bag.of_type(_IMU):
        frame, stamps, samples = "", [], []
        for _, recorded_ns, message in bag.messages([topic.name]):
            frame = frame or str(message.header.frame_id).lstrip("/")
            if message.linear_acceleration_covariance[0] == -1:  # "does not measure this"
                continue
            value = message.linear_acceleration
            stamps.append(stamp_of(message, recorded_ns))
            samples.append((value.x, value.y, value.z))
        turn = _turn(frame, trees, camera_frame)
        if turn is None or len(samples) < _MIN_SAMPLES:
            continue
        order = np.argsort(np.array(stamps, dtype=np.int64), kind="stable")
        times, values = np.array(stamps, dtype=np.int64)[order], np.array(samples, dtype=np.float64)[order]
        return partial(_up, times, values, turn), f"accelerations of {topic.name}"
    return None


def _turn(frame: str, trees: Trees, camera_frame: str) -> Callable[[int], Pose | None] | None:
    """camera_from_imu at a time, None where the frames are not connected in one way."""
    if frame == camera_frame:
        return lambda stamp_ns: Pose()
    try:
        transforms = trees.of(camera_frame).transforms
        connected = transforms.connects(camera_frame, frame)
    except (SeveralTreesError, TransformError):
        return None
    return partial(transforms.at, camera_frame, frame) if connected else None


def _up(
    stamps_ns: NDArray[np.int64], values: Array, camera_from_imu: Callable[[int], Pose | None], stamp_ns: int
) -> Array | None:
    mean, turn = _mean_acceleration(stamps_ns, values, stamp_ns), camera_from_imu(stamp_ns)
    return None if mean is None or turn is None else turn.rotation @ mean


def _mean_acceleration(stamps_ns: NDArray[np.int64], values: Array, stamp_ns: int) -> Array | None:
    """Direction of the mean acceleration around a time, None where it is not of the size of gravity."""
    reach = int(_WINDOW_S * 1e9)
    first, last = np.searchsorted(stamps_ns, [stamp_ns - reach, stamp_ns + reach])
    if last - first < _MIN_SAMPLES:
        return None
    mean = values[first:last].mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length) if abs(length - _G) < _G_TOLERANCE else None


def up_by_frames(trees: Trees, camera_frame: str) -> Array | None:
    """Up [3] in the camera frame by a frame of the robot that is level by convention (REP-103), None without one."""
    try:
        transforms = trees.of(camera_frame).transforms
        for frame in _LEVEL_FRAMES:
            if transforms.is_static(frame, camera_frame):
                return np.asarray(transforms.lookup(frame, camera_frame, 0).rotation[2])
    except (SeveralTreesError, TransformError):
        return None
    return None


def common_rotation(ups: Iterable[Array | None]) -> int | None:
    """By how much most images of a mounted camera are to be turned, None where they disagree. ups: in each of them."""
    votes = [rotation for up in ups if up is not None and (rotation := rotation_by_up(up)) is not None]
    if not votes:
        return None
    best = max(ROTATIONS, key=votes.count)
    return best if votes.count(best) >= _AGREEING * len(votes) else None


def mean_up(poses: Sequence[Pose | None], ups: Sequence[Array | None]) -> tuple[Array, float] | None:
    """(unit vector away from gravity in the frame of the poses, median deviation of the views from it in degrees).

    poses: frame_from_camera. ups: in each camera. Views without either are passed over; None where too few agree.
    """
    found = np.array(
        [pose.rotation @ up for pose, up in zip(poses, ups, strict=True) if pose is not None and up is not None]
    ).reshape(-1, 3)
    if not len(found):
        return None
    middle = np.median(found, axis=0)
    for _ in range(3):
        near = found[found @ middle > np.cos(np.radians(_FALLEN_DEG)) * np.linalg.norm(middle)]
        if 2 * len(near) < len(found) or not len(near):
            return None
        middle = near.mean(axis=0)
    middle /= np.linalg.norm(middle)
    spread = np.degrees(np.arccos(np.clip(found @ middle, -1.0, 1.0)))
    return middle, float(np.median(spread))


def level(up: Array) -> Pose:
    """The smallest rotation after which `up` [3] is the z axis: level_from_frame."""
    axis = np.cross(up, (0.0, 0.0, 1.0))
    sine, cosine = float(np.linalg.norm(axis)), float(up[2])
    if sine < 1e-12:
        return Pose() if cosine > 0 else Pose(np.diag([1.0, -1.0, -1.0]))
    return Pose(Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix())
