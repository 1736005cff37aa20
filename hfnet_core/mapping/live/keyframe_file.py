"""A keyframe of a drive as a file: everything but its features, which a workspace keeps."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import LARGEST_M, Pose
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.maps.description import checked_camera, parse_json
from hfnet_core.maps.tensor_file import read_tensors, write_tensors
from hfnet_core.types import Features, Ranges

__all__ = ["RecordedKeyframe", "read_keyframe", "write_keyframe"]

_POSES = ("map_from_camera", "odometry_from_camera", "rig_from_camera")  # of a Keyframe
_KEY = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 4096  # characters, as in a map
_FLOATS = (np.dtype(np.float32),) * 2
_NO_FEATURES = Features(
    np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 1), np.float32), np.ones(1, np.float32), 1, 1
)


@dataclass(frozen=True, eq=False)
class RecordedKeyframe:
    """A keyframe as it was recorded. images: of its recording up to and with this one."""

    keyframe: Keyframe
    images: int


def write_keyframe(path: Path, recorded: RecordedKeyframe) -> None:
    """Raises MapError where the disk is full."""
    keyframe = recorded.keyframe
    camera = dataclasses.asdict(keyframe.camera)
    told = {
        "name": keyframe.name,
        "stamp_ns": keyframe.stamp_ns,
        "recording": keyframe.recording,
        "drive": keyframe.drive,
        "drifting": keyframe.drifting,
        "key": keyframe.key,
        "camera": camera,
        "images": recorded.images,
    }
    poses = {name: getattr(keyframe, name) for name in _POSES}
    arrays = {name: pose.matrix()[:3] for name, pose in poses.items() if pose is not None}
    if keyframe.ranges is not None:
        arrays |= {"range_m": keyframe.ranges.metres, "range_sigma_m": keyframe.ranges.sigma_m}
    write_tensors(path, arrays, {"keyframe": json.dumps(told)})


def read_keyframe(path: Path, workspace: Workspace | None) -> RecordedKeyframe:
    """With its features from a workspace, or without any. Raises MapError or DatasetError for a damaged one."""
    file = read_tensors(path, verify=True, accept=lambda metadata: None)
    try:
        told = parse_json(file.metadata["keyframe"])
        described = _NO_FEATURES if workspace is None else workspace.load_features(_key(told))
        found = None if described is None else _recorded(told, file.arrays, described)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DatasetError(f"{path}: is damaged ({error})") from error
    if found is None:
        raise DatasetError(f"{path}: its features are missing or damaged")
    return found


def _recorded(told: Mapping[str, Any], arrays: Mapping[str, Any], features: Features) -> RecordedKeyframe:
    """Raises KeyError, ValueError, TypeError or an HFNetError for what makes no sense."""
    poses = {name: _pose(arrays[name]) for name in _POSES if name in arrays}
    keyframe = Keyframe(
        _name(told),
        _whole(told, "stamp_ns"),
        _whole(told, "recording"),
        checked_camera(told["camera"], "a keyframe"),
        poses["map_from_camera"],
        features,
        _key(told),
        odometry_from_camera=poses.get("odometry_from_camera"),
        rig_from_camera=poses.get("rig_from_camera"),
        drifting=bool(told["drifting"]),
        drive=_whole(told, "drive"),
        ranges=_ranges(arrays, len(features)),
    )
    return RecordedKeyframe(keyframe, _whole(told, "images"))


def _whole(told: Mapping[str, Any], name: str) -> int:
    value = told[name]
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} is no number from 0 to 2^63")
    return value


def _key(told: Mapping[str, Any]) -> str:
    """It is part of a file's name: nothing in it may lead elsewhere."""
    value = told["key"]
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ValueError("key is no SHA-256 in hexadecimal")
    return value


def _name(told: Mapping[str, Any]) -> str:
    value = told["name"]
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME:
        raise ValueError(f"name is no text of 1 to {_LONGEST_NAME} characters")
    return value


def _ranges(arrays: Mapping[str, Any], keypoints: int) -> Ranges | None:
    if "range_m" not in arrays or not keypoints:  # or nobody asks for features
        return None
    metres, sigma_m = arrays["range_m"], arrays["range_sigma_m"]
    if metres.shape != (keypoints,) or sigma_m.shape != (keypoints,) or (metres.dtype, sigma_m.dtype) != _FLOATS:
        raise ValueError("its ranges are not those of its keypoints")
    known = ~np.isnan(metres)
    if not all(((values[known] > 0) & (values[known] <= LARGEST_M)).all() for values in (metres, sigma_m)):
        raise ValueError("its ranges are no distances")
    return Ranges(metres, sigma_m)


def _pose(matrix: Any) -> Pose:
    if matrix.shape != (3, 4):
        raise ValueError("a pose has another shape")
    pose = Pose.from_matrix(matrix)
    if not pose.is_rigid():
        raise ValueError("a pose is none")
    return pose
