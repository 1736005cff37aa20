"""A drive folder becomes a map: what was recorded so far, by the builder of every other map."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import Recorded, build_from_readings
from hfnet_core.mapping.keyframes.reading import Reading
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.pose_modes import IMAGES
from hfnet_core.mapping.solving.closures import UnjoinedError
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map
from hfnet_core.progress import Progress, silent

__all__ = ["build_from_drive", "frame_of"]

_log = logging.getLogger(__name__)


def build_from_drive(
    folder: DriveFolder,
    config: MapBuildConfig | None = None,
    progress: Progress = silent,
    before: Mapping[str, Pose] | None = None,
) -> LandmarkMap:
    """A map of the keyframes recorded so far.

    config: None takes the folder's own. before: poses by keyframe of an earlier map of it, whose frame is kept where
    images alone decide. A stretch that cannot be joined to the others yet is left out, and said in the log. Raises
    DatasetError as `build_map`.
    """
    config = config or folder.settings
    sources = folder.sources()
    recorded = [item for item in folder.keyframes() if item.keyframe.recording in sources]
    if not recorded:
        raise DatasetError(f"{folder.path}: has no keyframes yet")
    left_out: set[int] = set()
    while True:
        readings = _readings(folder, sources, recorded, left_out)
        mode = sources[readings[0].keyframes[0].recording].mode
        try:
            found = Recorded(mode, readings, folder.info, frame=before or {})
            return build_from_readings(found, config, progress, folder.workspace)
        except UnjoinedError as error:
            left_out |= error.drives
            _log.warning("%s: left out until something joins it to the rest: %s", folder.path, error)


def _readings(
    folder: DriveFolder, sources: Mapping[int, Source], recorded: Sequence[RecordedKeyframe], left_out: Collection[int]
) -> list[Reading]:
    """What a build takes from each recording."""
    out = []
    for number, group in itertools.groupby(recorded, key=lambda item: item.keyframe.recording):
        items = list(group)
        if sources[number].drive not in left_out:
            keyframes = [item.keyframe for item in items]
            out.append(Reading(str(folder.path), keyframes, _summary(sources[number], items), sources[number].frame))
    return out


def _summary(source: Source, items: Sequence[RecordedKeyframe]) -> dict[str, Any]:
    """What the map's provenance keeps of a recording, as of a bag."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(np.int64(item.keyframe.stamp_ns).tobytes() + item.keyframe.key.encode())
    deep = sum(item.keyframe.ranges is not None for item in items)
    return {
        "number": items[0].keyframe.recording,
        "keyframes_sha256": digest.hexdigest(),
        "images": items[-1].images,
        "keyframes": len(items),
        "image_topic": source.image_topic,
        "camera_frame": source.camera_frame,
        "camera": source.camera,
        "poses": source.poses,
        "first_stamp_ns": items[0].keyframe.stamp_ns,
        "last_stamp_ns": items[-1].keyframe.stamp_ns,
        "while_driving": True,
        **({"keyframes_with_depth": deep} if deep else {}),
    }


def frame_of(path: Path, folder: DriveFolder) -> dict[str, Pose]:
    """Poses by keyframe of the map in a file, as far as it is of this drive, where images alone gave them; empty where
    there is none, or odometry says what the frame is."""
    try:
        found = load_map(path, verify=False)
    except MapError:
        return {}
    if found.provenance.get("pose_mode") != IMAGES:
        return {}
    stamps = folder.stamps_ns()
    return {
        name: found.map_from_camera(index)
        for index, name in enumerate(found.keyframe_names)
        if stamps.get(name) == int(found.keyframe_stamps_ns[index])
    }
