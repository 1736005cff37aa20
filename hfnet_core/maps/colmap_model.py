"""COLMAP models as values, read by ourselves: pycolmap's reader hangs on or dies of damaged files.

Formats after COLMAP's documentation ("Output format"), of all its versions: since 3.12 with `rigs` and `frames`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.types import CAMERA_PARAMETERS

__all__ = [
    "CAMERA_NUMBERS",
    "LARGEST",
    "MODEL_PARAMETERS",
    "ColmapModel",
    "ModelCamera",
    "ModelFrame",
    "ModelImage",
    "ModelRig",
    "ModelTables",
    "checked_model",
    "rigid",
]

# Numbers of COLMAP's camera models in binary files, and how many parameters each has, also of the one that we lack.
CAMERA_NUMBERS: Mapping[int, str] = dict(
    enumerate(
        (
            "SIMPLE_PINHOLE",
            "PINHOLE",
            "SIMPLE_RADIAL",
            "RADIAL",
            "OPENCV",
            "OPENCV_FISHEYE",
            "FULL_OPENCV",
            "FOV",
            "SIMPLE_RADIAL_FISHEYE",
            "RADIAL_FISHEYE",
            "THIN_PRISM_FISHEYE",
            "RAD_TAN_THIN_PRISM_FISHEYE",
            "SIMPLE_DIVISION",
            "DIVISION",
            "SIMPLE_FISHEYE",
            "FISHEYE",
            "EUCM",
            "EQUIRECTANGULAR",
        )
    )
)
MODEL_PARAMETERS: Mapping[str, int] = {**CAMERA_PARAMETERS, "EQUIRECTANGULAR": 2}
LARGEST = 1e9  # coordinates, in whatever unit: beyond it float32 has no centimetres left, and squares overflow
_SAME_POSE = 1e-4  # of two records of one pose: text files may round
_T = TypeVar("_T")
_TURNED = 1e-3  # how far the norm of a quaternion may be from 1


@dataclass(frozen=True)
class ModelCamera:
    """A camera as COLMAP has it: pixels count from the corner of the top-left one."""

    camera_id: int
    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ModelImage:
    """A registered image. keypoints_px: [N, 2] float64, COLMAP's pixels. points: [N] int64 ids, -1 for none."""

    image_id: int
    camera_id: int
    name: str
    camera_from_world: Pose
    keypoints_px: NDArray[np.float64]
    points: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ModelRig:
    """Cameras that are fixed to each other. sensors: camera id to sensor_from_rig, None where that is not known."""

    rig_id: int
    sensors: Mapping[int, Pose | None]


@dataclass(frozen=True, eq=False)
class ModelFrame:
    """What a rig took at once. images: (camera id, image id) of each."""

    frame_id: int
    rig_id: int
    rig_from_world: Pose
    images: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """cameras and images by id; images in order of ids.

    point_ids: [P] int64, ascending. points_xyz: [P, 3] float64. tracks: [T, 3] int64: row in point_ids, image id,
    number of the keypoint in the image.
    """

    cameras: Mapping[int, ModelCamera]
    images: Mapping[int, ModelImage]
    point_ids: NDArray[np.int64]
    points_xyz: NDArray[np.float64]
    tracks: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ModelTables:
    """What the files say, before any of it is compared. points: (id, xyz, track [N, 2] of image id, keypoint)."""

    cameras: Sequence[ModelCamera]
    images: Sequence[ModelImage]
    points: Sequence[tuple[int, tuple[float, float, float], NDArray[np.int64]]]
    rigs: Sequence[ModelRig] = ()
    frames: Sequence[ModelFrame] = ()


def rigid(values: Sequence[float]) -> Pose:
    """The pose of (qw, qx, qy, qz, tx, ty, tz). ValueError unless finite, the quaternion of length 1."""
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.abs(numbers) <= LARGEST).all():  # False for NaN
        raise ValueError("a pose that is not finite or too far away")
    if abs(np.linalg.norm(numbers[:4]) - 1.0) > _TURNED:
        raise ValueError("a pose whose quaternion is not of length 1")
    return Pose.from_quat_xyzw(numbers[[1, 2, 3, 0]], numbers[4:])


def checked_model(folder: Path, tables: ModelTables) -> ColmapModel:
    """The model, once ids, poses, numbers and tracks have been found to fit each other. Raises DatasetError."""
    try:
        return _compared(tables)
    except ValueError as error:
        raise DatasetError(f"{folder}: the COLMAP model is damaged ({error}); export or copy it again") from error


def _compared(tables: ModelTables) -> ColmapModel:
    cameras = _by_id("camera", [(camera.camera_id, camera) for camera in tables.cameras])
    images = _by_id("image", [(image.image_id, image) for image in tables.images])
    for image in images.values():
        _check_image(image, cameras)
    if len({image.name for image in images.values()}) != len(images):
        raise ValueError("two images have one name")
    _check_frames(tables, cameras, images)
    points = _by_id("point", [(point[0], point) for point in tables.points])
    xyz = np.array([point[1] for point in points.values()], dtype=np.float64).reshape(-1, 3)
    if not (np.abs(xyz) <= LARGEST).all():
        raise ValueError("a point that is not finite or too far away")
    tracks = [point[2] for point in points.values()]
    rows = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    elements = np.concatenate(tracks) if tracks else np.zeros((0, 2), dtype=np.int64)
    model = ColmapModel(
        cameras, images, np.array(list(points), dtype=np.int64), xyz, np.column_stack([rows, elements]).astype(np.int64)
    )
    _check_tracks(model)
    return model


def _by_id(kind: str, items: Sequence[tuple[int, _T]]) -> dict[int, _T]:
    found = dict(sorted(items, key=lambda item: item[0]))
    if len(found) != len(items):
        raise ValueError(f"two records of one {kind}")
    return found


def _check_image(image: ModelImage, cameras: Mapping[int, ModelCamera]) -> None:
    if image.camera_id not in cameras:
        raise ValueError(f"image {image.name!r} is of a camera {image.camera_id} that is not there")
    if not image.name or image.name.startswith("/") or ".." in image.name.split("/") or "\0" in image.name:
        raise ValueError(f"{image.name!r} is no name of an image below a folder")
    if not (np.abs(image.keypoints_px) <= LARGEST).all():
        raise ValueError(f"image {image.name!r} has keypoints that are no pixels")


def _check_frames(tables: ModelTables, cameras: Mapping[int, ModelCamera], images: Mapping[int, ModelImage]) -> None:
    """Poses of frames, where there are any, must be those of the images."""
    rigs = _by_id("rig", [(rig.rig_id, rig) for rig in tables.rigs])
    _by_id("frame", [(frame.frame_id, frame) for frame in tables.frames])
    framed: set[int] = set()
    for frame in tables.frames:
        if frame.rig_id not in rigs:
            raise ValueError(f"frame {frame.frame_id} is of a rig {frame.rig_id} that is not there")
        for camera_id, image_id in frame.images:
            image, sensors = images.get(image_id), rigs[frame.rig_id].sensors
            if camera_id not in sensors or camera_id not in cameras or image_id in framed:
                raise ValueError(f"frame {frame.frame_id} names a camera or image that is not its own")
            framed.add(image_id)
            if image is None:  # COLMAP keeps frames of images that were not registered
                continue
            sensor_from_rig = sensors[camera_id]
            if image.camera_id != camera_id or sensor_from_rig is None:
                raise ValueError(f"frame {frame.frame_id} contradicts image {image.name!r}")
            _check_same(sensor_from_rig @ frame.rig_from_world, image)
    if tables.frames and not framed >= images.keys():
        raise ValueError(f"image {images[min(images.keys() - framed)].name!r} is in no frame")


def _check_same(camera_from_world: Pose, image: ModelImage) -> None:
    difference = camera_from_world.matrix() - image.camera_from_world.matrix()
    difference[:3, 3] /= np.maximum(np.abs(image.camera_from_world.translation), 1.0)
    if np.abs(difference).max() > _SAME_POSE:
        raise ValueError(f"image {image.name!r} has one pose of its own and another of its frame")


def _check_tracks(model: ColmapModel) -> None:
    """Tracks must name keypoints that are there and do not say that they belong to another point."""
    order = np.argsort(model.tracks[:, 1], kind="stable")
    owners, starts = np.unique(model.tracks[order, 1], return_index=True)
    for image_id, rows in zip(owners.tolist(), _split(order, starts), strict=True):
        image = model.images.get(image_id)
        if image is None:
            raise ValueError(f"a point is seen by an image {image_id} that is not there")
        keypoints = model.tracks[rows, 2]
        if len(keypoints) and not 0 <= keypoints.min() <= keypoints.max() < len(image.points):
            raise ValueError(f"a point is seen by a keypoint of image {image.name!r} that is not there")
        said, wanted = image.points[keypoints], model.point_ids[model.tracks[rows, 0]]
        if ((said != wanted) & (said != -1)).any():
            raise ValueError(f"keypoints of image {image.name!r} belong to two points")


def _split(order: NDArray[np.int64], starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return iter(np.split(order, starts[1:])) if len(starts) else iter(())
