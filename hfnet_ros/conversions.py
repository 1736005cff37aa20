"""Messages <-> core types, and nothing else."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped, PoseWithCovarianceStamped, TransformStamped
from geometry_msgs.msg import Pose as PoseMsg
from geometry_msgs.msg import Transform as TransformMsg
from nav_msgs.msg import Path
from numpy.typing import NDArray
from sensor_msgs.msg import Image, NavSatFix, NavSatStatus, PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import LARGEST_M, Array, Pose
from hfnet_core.georeference.datum import Georeference
from hfnet_core.localization.tracking.consistency import UNKNOWN_PRIOR
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.calibration import camera_from_info, doubts_about_info
from hfnet_core.recordings.tum import parse_pose
from hfnet_core.types import Camera

__all__ = [
    "array_to_image",
    "camera_from_info",
    "covariance_from_msg",
    "datum_to_fix",
    "doubts_about_info",
    "frame_name",
    "frustums_to_marker",
    "header",
    "keyframes_to_marker",
    "landmarks_to_cloud",
    "path_to_msg",
    "pose_from_msg",
    "pose_from_text",
    "pose_from_transform",
    "pose_to_msg",
    "pose_to_stamped",
    "pose_to_stamped_with_covariance",
    "pose_to_transform",
    "poses_from_text",
    "stamp_from_ns",
    "stamp_to_ns",
    "texts_per_camera",
    "topic_of",
]

NS_PER_S = 1_000_000_000
_DRAWN_KEYFRAMES = 2000  # about: rviz does not need more, and messages with many points are slow to fill
_DRAWN_LANDMARKS = 500_000  # likewise


def stamp_to_ns(stamp: Time) -> int:
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def frame_name(text: str) -> str:
    """A frame as tf2 names it: old drivers begin it with a slash, which tf2 refuses."""
    return text.lstrip("/")


def header(frame_id: str, stamp_ns: int) -> Header:
    return Header(frame_id=frame_id, stamp=stamp_from_ns(stamp_ns))


def pose_from_msg(message: PoseMsg) -> Pose:
    """Raises ValueError for a quaternion of zeros or numbers that are not finite."""
    return _pose(message.position, message.orientation)


def pose_from_transform(message: TransformMsg) -> Pose:
    """Raises ValueError for a quaternion of zeros or numbers that are not finite."""
    return _pose(message.translation, message.rotation)


def _pose(p: Point, q: object) -> Pose:
    pose = Pose.from_quat_xyzw([q.x, q.y, q.z, q.w], [p.x, p.y, p.z])  # type: ignore[attr-defined]
    if not pose.is_finite():
        raise ValueError(f"a pose is not finite, or further than {LARGEST_M:g} m away")
    return pose


def pose_from_text(text: str, name: str) -> Pose | None:
    """A pose written as `x y z qx qy qz qw`, None for an empty text. Raises ConfigError naming the parameter."""
    if not text.strip():
        return None
    try:
        return parse_pose(text)
    except DatasetError as error:
        raise ConfigError(f"{name}: {error}") from error


def poses_from_text(text: str, count: int, name: str) -> list[Pose | None]:
    """`count` poses with ; between them, each None for an empty text. Raises ConfigError naming the parameter."""
    parts = text.split(";") if text.strip() else [""] * count
    if len(parts) != count:
        raise ConfigError(
            f"{name}: has {len(parts)} poses for {count} cameras; write one for each, with ; between them"
        )
    return [pose_from_text(part, name) for part in parts]


def texts_per_camera(text: str, count: int, name: str) -> list[str]:
    """`count` texts with ; between them, or one for all. Raises ConfigError naming the parameter."""
    parts = [part.strip() for part in text.split(";")]
    if len(parts) not in (1, count):
        raise ConfigError(
            f"{name}: has {len(parts)} values for {count} cameras; write one for each, with ; between them"
        )
    return parts * count if len(parts) == 1 else parts


def datum_to_fix(place: Georeference, frame_id: str, stamp_ns: int) -> NavSatFix:
    """The origin of a map; its covariance is how well fixes agreed with the map, known by its diagonal."""
    message = NavSatFix()
    message.header.frame_id, message.header.stamp = frame_id, stamp_from_ns(stamp_ns)
    message.latitude, message.longitude = place.datum.latitude_deg, place.datum.longitude_deg
    message.altitude = place.datum.altitude_m
    variance = place.residual_m**2 / 2  # east and north each
    message.position_covariance = [variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 4 * variance]
    message.position_covariance_type = NavSatFix.COVARIANCE_TYPE_APPROXIMATED
    return message


def no_fix(frame_id: str, stamp_ns: int) -> NavSatFix:
    """That nobody knows where on Earth it is."""
    message = NavSatFix()
    message.header.frame_id, message.header.stamp = frame_id, stamp_from_ns(stamp_ns)
    message.status.status = NavSatStatus.STATUS_NO_FIX
    message.latitude = message.longitude = message.altitude = math.nan
    return message


def topic_of(camera: str, topic: str) -> str:
    """A topic of a camera that has a name, or of the only one."""
    return f"{camera}/{topic}" if camera else topic


def pose_to_msg(pose: Pose) -> PoseMsg:
    message = PoseMsg()
    message.position.x, message.position.y, message.position.z = pose.translation.tolist()
    x, y, z, w = pose.quat_xyzw().tolist()
    message.orientation.x, message.orientation.y, message.orientation.z, message.orientation.w = x, y, z, w
    return message


def pose_to_stamped(pose: Pose, frame_id: str, stamp_ns: int) -> PoseStamped:
    return PoseStamped(header=header(frame_id, stamp_ns), pose=pose_to_msg(pose))


def pose_to_stamped_with_covariance(
    pose: Pose, covariance: Array, frame_id: str, stamp_ns: int
) -> PoseWithCovarianceStamped:
    message = PoseWithCovarianceStamped(header=header(frame_id, stamp_ns))
    message.pose.pose = pose_to_msg(pose)
    message.pose.covariance = np.ascontiguousarray(covariance, dtype=np.float64).ravel()
    return message


def pose_to_transform(parent_from_child: Pose, parent: str, child: str, stamp_ns: int) -> TransformStamped:
    message = TransformStamped(header=header(parent, stamp_ns), child_frame_id=child)
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = parent_from_child.translation.tolist()
    r.x, r.y, r.z, r.w = parent_from_child.quat_xyzw().tolist()
    return message


def covariance_from_msg(values: Sequence[float]) -> Array:
    """[6, 6] of a PoseWithCovariance; variances of zero, as rviz gives for what a 2D robot lacks, mean unknown.

    Raises ValueError when it is no covariance.
    """
    covariance = np.asarray(values, np.float64).reshape(6, 6)
    if not np.isfinite(covariance).all() or not np.allclose(covariance, covariance.T):
        raise ValueError("its covariance is not finite or not symmetric")
    unknown = np.diag(covariance) == 0.0
    covariance = np.where(unknown[:, None] | unknown[None, :], UNKNOWN_PRIOR, covariance)
    if np.linalg.eigvalsh(covariance)[0] <= 0.0:
        raise ValueError("its covariance is not positive")
    return covariance


def array_to_image(pixels: NDArray[np.uint8], frame_id: str, stamp_ns: int) -> Image:
    """An RGB image [H, W, 3]."""
    height, width = pixels.shape[:2]
    return Image(
        header=header(frame_id, stamp_ns),
        height=height,
        width=width,
        encoding="rgb8",
        step=3 * width,
        data=_bytes(pixels.tobytes()),
    )


def _bytes(data: bytes) -> array[int]:
    """For a message's field: assigning an ndarray takes a thousand times longer."""
    out = array("B")
    out.frombytes(data)
    return out


def path_to_msg(poses: Sequence[PoseStamped], frame_id: str, stamp_ns: int) -> Path:
    return Path(header=header(frame_id, stamp_ns), poses=list(poses))


def landmarks_to_cloud(landmark_map: LandmarkMap, frame_id: str, stamp_ns: int) -> PointCloud2:
    """Landmarks (thinned out in large maps) with the number of their observations as intensity."""
    step = 1 + landmark_map.landmarks // _DRAWN_LANDMARKS
    xyz, ends = landmark_map.landmarks_xyz[::step], landmark_map.landmark_offsets
    points = np.empty((len(xyz), 4), np.float32)
    points[:, :3] = xyz
    points[:, 3] = ends[1::step] - ends[:-1:step]
    names = ("x", "y", "z", "intensity")
    return PointCloud2(
        header=header(frame_id, stamp_ns),
        height=1,
        width=len(points),
        point_step=16,
        row_step=16 * len(points),
        fields=[PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate(names)],
        is_bigendian=False,
        is_dense=bool(np.isfinite(points).all()),
        data=_bytes(points.tobytes()),
    )


def keyframes_to_marker(landmark_map: LandmarkMap, frame_id: str, stamp_ns: int, depth_m: float = 0.1) -> Marker:
    """Keyframes (thinned out in large maps) as the outline of its viewing frustum, `depth_m` deep."""
    views = (
        (landmark_map.map_from_camera(keyframe), landmark_map.cameras[int(landmark_map.keyframe_cameras[keyframe])])
        for keyframe in range(0, landmark_map.keyframes, 1 + landmark_map.keyframes // _DRAWN_KEYFRAMES)
    )
    return frustums_to_marker(views, frame_id, stamp_ns, "keyframes", (0.1, 0.6, 1.0), depth_m)


def frustums_to_marker(
    views: Iterable[tuple[Pose, Camera]],
    frame_id: str,
    stamp_ns: int,
    name: str,
    rgb: tuple[float, float, float],
    depth_m: float,
) -> Marker:
    """Outlines of what cameras see, `depth_m` deep; views: map_from_camera and camera. Without views it is deleted."""
    marker = Marker(header=header(frame_id, stamp_ns), ns=name, type=Marker.LINE_LIST)
    marker.scale.x = 0.05 * depth_m
    marker.color = ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=0.8)
    marker.pose.orientation.w = 1.0
    edges = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)]
    points = []
    for map_from_camera, camera in views:
        x, y = 0.5 * np.array([camera.width, camera.height]) / camera.focal_length
        corners = depth_m * np.array([[0, 0, 0], [-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]])
        moved = map_from_camera.apply(corners).tolist()
        points += [Point(x=px, y=py, z=pz) for edge in edges for px, py, pz in (moved[edge[0]], moved[edge[1]])]
    marker.points, marker.action = points, Marker.ADD if points else Marker.DELETE
    return marker
