"""Keyframes of a recording, with their features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.known_distance import named_images
from hfnet_core.mapping.keyframes.selection import (
    FrameSummary,
    choose_by_motion,
    select_keyframes,
    sharpness,
    simultaneous,
)
from hfnet_core.mapping.keyframes.workers import Done, Pending, in_order
from hfnet_core.mapping.keyframes.workspace import Workplace, key_of
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.types import Camera, Features

__all__ = [
    "Describer",
    "Keyframe",
    "described",
    "read_keyframes",
]

T = TypeVar("T")


class Describer(Protocol):
    """What makes features: an Extractor, or a baseline."""

    @property
    def info(self) -> Any: ...

    def extract(self, image: NDArray[Any]) -> Features: ...


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A chosen image, as its features. camera: as calibrated. recording: which one it belongs to, counted from 0.

    key: names the features in a workplace, "" for none. odometry_from_camera: the pose by odometry, for the scale of
    what images alone tell. up_in_camera: [3] unit vector away from gravity. camera_guessed: nobody has calibrated it.
    drifting: map_from_camera is odometry, good only relative to the keyframes before and after. drive: the bag whose
    odometry it is, which other cameras may share; None where the recording has it for itself. rig_from_camera: where
    the camera sits among the cameras of its drive, None if unknown or alone.
    """

    name: str
    stamp_ns: int
    recording: int
    camera: Camera
    map_from_camera: Pose
    features: Features
    key: str = ""
    odometry_from_camera: Pose | None = None
    up_in_camera: NDArray[np.float64] | None = None
    camera_guessed: bool = False
    drifting: bool = False
    drive: int | None = None
    rig_from_camera: Pose | None = None


def read_keyframes(
    bag: Bag, number: int, extractor: Describer, config: MapBuildConfig, progress: Progress = silent,
    workplace: Workplace | None = None, *, from_images: bool = False,
    rig_frame: str = "", beside: Sequence[int] = (),
) -> tuple[list[Keyframe], dict[str, Any]]:  # fmt: skip
    """Keyframes of a bag, and what is known of the recording. Several passes, so that images never pile up in memory.

    from_images: they are chosen by the motion of the image; the recording's poses become `odometry_from_camera` and
    `map_from_camera` stays the identity until something places them. rig_frame: frame that this camera and others are
    fixed to. beside: stamps of another camera's keyframes; the images taken at these times are chosen, if there are.
    """
    workplace = workplace or Workplace()
    if from_images:
        named = named_images(config.known_distance, number)
        together = simultaneous([item.stamp_ns for item in bag.timeline()], beside) if beside else []
        by_motion = [] if together else choose_by_motion(bag, config.keyframe_motion, named, progress)
        chosen, posed = by_motion or sorted({*together, *named}), None
    else:
        posed = _posed(bag, progress)
        positions = select_keyframes(posed, config.keyframe_distance_m, config.keyframe_angle_deg)
        chosen = [posed[position].index for position in positions]
    broken = list(bag.broken)
    mount = bag.mount(rig_frame) if from_images and rig_frame else None
    keyframes: list[Keyframe] = []
    digest = hashlib.sha256()
    frames = ((frame, frame.image) for frame in bag.frames(chosen))
    for frame, key, features in described(frames, extractor, workplace):
        digest.update(np.int64(frame.stamp_ns).tobytes() + np.ascontiguousarray(frame.image).tobytes())
        own = frame.map_from_camera
        keyframes.append(
            Keyframe(
                f"{number}/{frame.index:06d}", frame.stamp_ns, number, frame.camera,
                Pose() if from_images or own is None else own, features, key,
                odometry_from_camera=own if from_images else None, camera_guessed=frame.camera_guessed,
                up_in_camera=bag.up_at(frame.stamp_ns), rig_from_camera=mount,
            )
        )  # fmt: skip
        progress("extracting features", len(keyframes), len(chosen))
    summary = {
        "keyframes_sha256": digest.hexdigest(), "images": len(bag), "damaged_images": len(broken),
        "keyframes": len(keyframes), "image_topic": bag.image_topic.name, "camera": bag.camera_source,
        "poses": bag.pose_source, "first_stamp_ns": keyframes[0].stamp_ns, "last_stamp_ns": keyframes[-1].stamp_ns,
    }  # fmt: skip
    return keyframes, summary if posed is None else {**summary, "images_with_pose": len(posed)}


def _posed(bag: Bag, progress: Progress) -> list[FrameSummary]:
    """The images that have a pose. Raises DatasetError where none has."""
    out = []
    for frame in bag.frames():
        progress("choosing keyframes", frame.index + 1, len(bag))
        if frame.map_from_camera is not None:
            out.append(FrameSummary(frame.index, frame.map_from_camera, sharpness(frame.image)))
    if not out:
        raise DatasetError(
            f"{bag.path}: none of {len(bag)} images has a pose at its stamp ({bag.pose_source}); do the clocks agree?"
        )
    return out


def described(
    images: Iterable[tuple[T, NDArray[Any]]], extractor: Describer, workplace: Workplace
) -> Iterator[tuple[T, str, Features]]:
    """(whatever came with an image, key, features), in order; features from the workplace or its workers."""
    workers = workplace.workers
    shared = workers.share(extractor)

    def started() -> Iterator[tuple[tuple[T, str, bool], Pending[Features]]]:
        for item, image in images:
            key = key_of(extractor.info.model_hash, getattr(extractor, "config", None), image)
            known = workplace.load_features(key)
            pending = Done(known) if known is not None else workers.submit(_extract, shared, workers.share(image))
            yield (item, key, known is None), pending

    for (item, key, fresh), features in in_order(workers, started()):
        if fresh:
            workplace.store_features(key, features)
        yield item, key, features


def _extract(extractor: Describer, image: NDArray[Any]) -> Features:
    return extractor.extract(image).without_dense()  # thousands are kept, and sent between processes
