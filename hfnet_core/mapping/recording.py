"""Keyframes of a recording, with their features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.bags import Bag
from hfnet_core.mapping.keyframes import FrameSummary, select_keyframes, sharpness
from hfnet_core.mapping.workplace import Workplace, key_of
from hfnet_core.types import Camera, Features

__all__ = ["Describer", "Keyframe", "Progress", "read_keyframes", "silent"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


class Describer(Protocol):
    """What makes features: an Extractor, or a baseline."""

    @property
    def info(self) -> Any: ...

    def extract(self, image: NDArray[Any]) -> Features: ...


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A chosen image, as its features. camera: as calibrated. recording: which one it belongs to, counted from 0.

    key: names the features in a workplace, "" for none.
    """

    name: str
    stamp_ns: int
    recording: int
    camera: Camera
    map_from_camera: Pose
    features: Features
    key: str = ""


def silent(stage: str, done: int, total: int) -> None:
    """No progress wanted."""


def read_keyframes(
    bag: Bag, number: int, extractor: Describer, config: MapBuildConfig, progress: Progress = silent,
    workplace: Workplace | None = None,
) -> tuple[list[Keyframe], dict[str, Any]]:  # fmt: skip
    """Keyframes of a bag, and what is known of the recording. Two passes, so that images never pile up in memory."""
    workplace = workplace or Workplace()
    summaries = []
    for frame in bag.frames():
        progress("choosing keyframes", frame.index + 1, len(bag))
        if frame.map_from_camera is not None:
            summaries.append(FrameSummary(frame.index, frame.map_from_camera, sharpness(frame.image)))
    broken = list(bag.broken)
    if not summaries:
        raise DatasetError(
            f"{bag.path}: none of {len(bag)} images has a pose at its stamp ({bag.pose_source}); do the clocks agree?"
        )
    chosen = select_keyframes(summaries, config.keyframe_distance_m, config.keyframe_angle_deg)
    keyframes: list[Keyframe] = []
    digest = hashlib.sha256()
    poses = {summaries[position].index: summaries[position].map_from_camera for position in chosen}
    for frame in bag.frames(poses):
        key = key_of(extractor.info.model_hash, getattr(extractor, "config", None), frame.image)
        features = workplace.load_features(key)
        if features is None:
            features = extractor.extract(frame.image)
            workplace.store_features(key, features)
        digest.update(np.int64(frame.stamp_ns).tobytes() + np.ascontiguousarray(frame.image).tobytes())
        name = f"{number}/{frame.index:06d}"
        keyframes.append(Keyframe(name, frame.stamp_ns, number, frame.camera, poses[frame.index], features, key))
        progress("extracting features", len(keyframes), len(chosen))
    summary = {
        "keyframes_sha256": digest.hexdigest(), "images": len(bag), "images_with_pose": len(summaries),
        "damaged_images": len(broken), "keyframes": len(keyframes), "image_topic": bag.image_topic.name,
        "camera": bag.camera_source, "poses": bag.pose_source, "first_stamp_ns": keyframes[0].stamp_ns,
        "last_stamp_ns": keyframes[-1].stamp_ns,
    }  # fmt: skip
    return keyframes, summary
