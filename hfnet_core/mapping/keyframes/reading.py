"""Keyframes of a recording, with their features."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.scales import MultiScale
from hfnet_core.features.sources import FeatureSource, NamedSource, preparation_for
from hfnet_core.features.stereo import stereo_ranges
from hfnet_core.geometry import Pose
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.images.preparation import Preparation
from hfnet_core.mapping.keyframes.known_distance import named_images
from hfnet_core.mapping.keyframes.selection import (
    FrameSummary,
    choose_by_motion,
    select_keyframes,
    sharpness,
    simultaneous,
)
from hfnet_core.mapping.keyframes.workers import Done, Pending, in_order
from hfnet_core.mapping.keyframes.workspace import Workspace, key_of
from hfnet_core.maps.assembly import too_far
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.containers.checksums import has_checksums
from hfnet_core.recordings.depth.pair import RecordedPair, recorded_pair
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.types import Camera, Features, Ranges

__all__ = [
    "OWN_FRAME",
    "BuildTools",
    "Describer",
    "Keyframe",
    "Reading",
    "ReadingPlan",
    "described",
    "read_keyframes",
]

NO_CHECKSUMS = "none: damage to the recording may have gone unnoticed"
OWN_FRAME = "map"  # of maps whose frame is made here
_FEWEST_POSED = 2  # of images, where others have none: a map takes two
_log = logging.getLogger(__name__)
T = TypeVar("T")


Describer = FeatureSource
"""What makes features: an Extractor, a baseline, a file."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A chosen image, as its features. camera: as calibrated. recording: which one it belongs to, counted from 0.

    key: names the features in a workspace, "" for none. odometry_from_camera: the pose by odometry, for the scale of
    what images alone tell. up_in_camera: [3] unit vector away from gravity. camera_guessed: nobody has calibrated it.
    drifting: map_from_camera is odometry, good only relative to the keyframes before and after. drive: the bag whose
    odometry it is, which other cameras may share; None where the recording has it for itself. rig_from_camera: where
    the camera sits among the cameras of its drive, None if unknown or alone. ranges: of its keypoints, where depth was
    recorded.
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
    ranges: Ranges | None = None


@dataclass(frozen=True, eq=False)
class BuildTools:
    """What every step of a build works with. progress: told how far it is."""

    extractor: Describer
    config: MapBuildConfig = field(default_factory=MapBuildConfig)
    progress: Progress = silent
    workspace: Workspace = field(default_factory=Workspace)

    @property
    def describer(self) -> Describer:
        """What describes keyframes: the extractor, at several scales where the settings ask for it.

        Features of other kinds, or from files, have the one scale they come with.
        """
        if self.config.multi_scale and isinstance(self.extractor, Extractor):
            return MultiScale(self.extractor)
        return self.extractor


@dataclass(frozen=True)
class ReadingPlan:
    """How one camera of one drive is read. number: of the recording, from 0.

    from_images: keyframes are chosen by the motion of the image; the recording's poses become `odometry_from_camera`
    and `map_from_camera` stays the identity until something places them. drive, drifting: see `Keyframe`. rig_frame:
    frame that this camera and others are fixed to, "" for one alone. beside: stamps of another camera's keyframes; the
    images taken at these times are chosen, if there are.
    """

    number: int
    from_images: bool = False
    drive: int | None = None
    drifting: bool = False
    rig_frame: str = ""
    beside: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Reading:
    """Everything a build takes from one camera of one drive.

    name: of the bag, for people. summary: what the map's provenance keeps of it. frame: of a map of it alone. gps:
    fixes of the drive, told once for all of its cameras.
    """

    name: str
    keyframes: Sequence[Keyframe]
    summary: Mapping[str, Any]
    frame: str = OWN_FRAME
    gps: GpsTrack | None = None


def read_keyframes(bag: Bag, plan: ReadingPlan, tools: BuildTools) -> Reading:
    """Keyframes of a bag, and what is known of the recording. Several passes, so that images never pile up in memory.

    Raises DatasetError where no image has a pose, unless poses come from images.
    """
    chosen, posed = _choose(bag, plan, tools)
    broken = list(bag.broken)
    mount = bag.mount(plan.rig_frame) if plan.from_images and plan.rig_frame else None
    keyframes: list[Keyframe] = []
    digest = hashlib.sha256()
    prepared = ((frame, preparation_for(tools.extractor, frame.preparation)) for frame in bag.frames(chosen))
    frames = (((frame, preparation), preparation.before(frame.image)) for frame, preparation in prepared)
    names = lambda item: f"{plan.number}/{item[0].name}"  # noqa: E731
    for (frame, preparation), key, turned in described(frames, tools.describer, tools.workspace, names):
        features = preparation.after(turned)
        digest.update(np.int64(frame.stamp_ns).tobytes() + np.ascontiguousarray(frame.image).tobytes())
        own = frame.map_from_camera
        keyframes.append(
            Keyframe(
                f"{plan.number}/{frame.name}",
                frame.stamp_ns,
                plan.number,
                frame.camera,
                Pose() if plan.from_images or own is None else own,
                features,
                key,
                odometry_from_camera=own if plan.from_images else None,
                camera_guessed=frame.camera_guessed,
                up_in_camera=bag.up_at(frame.stamp_ns),
                rig_from_camera=mount,
                drifting=plan.drifting,
                drive=plan.drive,
            )
        )
        tools.progress("extracting features", len(keyframes), len(chosen))
    broken = list(dict.fromkeys([*broken, *bag.broken]))
    _tell_broken(bag, keyframes, broken)
    keyframes, depth = _with_ranges(bag, keyframes, tools)
    summary = {
        "number": plan.number,
        "keyframes_sha256": digest.hexdigest(),
        "images": len(bag),
        "damaged_images": len(broken),
        "keyframes": len(keyframes),
        "image_topic": bag.image_topic.name,
        "camera_frame": bag.camera_frame,
        "camera": bag.camera_source,
        "poses": bag.pose_source,
        "first_stamp_ns": keyframes[0].stamp_ns,
        "last_stamp_ns": keyframes[-1].stamp_ns,
        **depth,
    }
    if bag.options.mask is not None:
        summary["mask"] = bag.options.mask.name
    if bag.rotation:
        summary["image_rotation"] = bag.rotation
    if posed is not None:
        summary["images_with_pose"] = posed
    if not has_checksums(bag.path):
        summary["checksums"] = NO_CHECKSUMS
    # Freed of its drift it is no longer the frame of the odometry, which a robot keeps apart from its map's.
    freed = bag.poses_drift and (plan.drifting or plan.from_images)
    map_frame = bag.options.poses.map_frame or OWN_FRAME if freed else bag.map_frame
    return Reading(str(bag.path), keyframes, summary, map_frame)


def _tell_broken(bag: Bag, keyframes: Sequence[Keyframe], broken: Sequence[str]) -> None:
    """Raises DatasetError where no image is left."""
    if broken:
        _log.warning("%s: %d of %d images are left out, the first: %s", bag.path, len(broken), len(bag), broken[0])
    if not keyframes:
        why = f", the first: {broken[0]}" if broken else ""
        raise DatasetError(f"{bag.path}: no image of {bag.image_topic} can be used{why}")


def _with_ranges(bag: Bag, keyframes: list[Keyframe], tools: BuildTools) -> tuple[list[Keyframe], dict[str, Any]]:
    """Keyframes that know how far away things are, by depth images or a second camera, and what to say of it."""
    with recorded_depth(bag) as depth:
        if depth.topic is not None:
            found = [
                replace(item, ranges=depth.ranges(item.stamp_ns, item.features, item.camera)) for item in keyframes
            ]
            if keyframes and not depth.used:
                told_of = f"{depth.topic} has no image for any of {len(keyframes)} keyframes"
                _log.warning("%s: %s: do the stamps agree?", bag.path, told_of)
            told = {"depth_topic": depth.topic.name, "keyframes_with_depth": depth.used}
            return found, told if depth.mount is None else {**told, "depth_registered_here": True}
    with recorded_pair(bag) as pair:
        if pair is None or isinstance(tools.extractor, NamedSource):
            return keyframes, {}
        found = [replace(item, ranges=_stereo(pair, item, tools, bag.rotation or 0)) for item in keyframes]
        used = sum(item.ranges is not None for item in found)
        return found, {"stereo_topic": pair.topic.name, "keyframes_with_depth": used}


def _stereo(pair: RecordedPair, keyframe: Keyframe, tools: BuildTools, rotation: int) -> Ranges | None:
    """Of a keyframe's keypoints by the right image; None without, or where it is of another size."""
    image = pair.image(keyframe.stamp_ns)
    if image is None or image.shape[1::-1] != (keyframe.camera.width, keyframe.camera.height):
        return None
    turned = Preparation(rotation)  # as the left one; the mask is of what that camera sees
    right = turned.after(tools.extractor.extract(turned.before(image)).without_dense())
    return stereo_ranges(keyframe.features, right, pair.focal_px, pair.baseline_m)


def _choose(bag: Bag, plan: ReadingPlan, tools: BuildTools) -> tuple[list[int], int | None]:
    """(indices of the images that become keyframes, how many images have a pose where that was looked at)."""
    config = tools.config
    if not plan.from_images:
        posed = _posed(bag, tools.progress)
        if (why := too_far([item.map_from_camera for item in posed])) is not None:
            raise DatasetError(f"{bag.path}: {bag.pose_source}: they lie {why}")
        positions = select_keyframes(posed, config.keyframe_distance_m, config.keyframe_angle_deg)
        return [posed[position].index for position in positions], len(posed)
    named = named_images(config.known_distance, plan.number)
    together = simultaneous([item.stamp_ns for item in bag.timeline()], plan.beside) if plan.beside else []
    if together:
        return sorted({*together, *named}), None
    return choose_by_motion(bag, config.keyframe_motion, named, tools.progress) or sorted(named), None


def _posed(bag: Bag, progress: Progress) -> list[FrameSummary]:
    """The images that have a pose. Raises DatasetError where next to none has."""
    out: list[FrameSummary] = []
    without: list[int] = []
    for frame in bag.frames():
        progress("choosing keyframes", frame.index + 1, len(bag))
        if frame.map_from_camera is not None:
            out.append(FrameSummary(frame.index, frame.map_from_camera, sharpness(frame.image)))
        else:
            without.append(frame.stamp_ns)
    if not without:
        return out
    said = f"{bag.path}: {len(without)} of {len(bag)} images have no pose at their stamp ({bag.pose_source})"
    reason = bag.why_no_pose(without[len(without) // 2])
    if len(out) < _FEWEST_POSED:
        raise DatasetError(
            f"{said}: {reason}; do the clocks agree? For a mount that never changes pass --base-from-camera 'x y z qx "
            "qy qz qw'"
        )
    _log.warning("%s and are left out: %s", said, reason)
    return out


def described(
    images: Iterable[tuple[T, NDArray[Any]]],
    extractor: Describer,
    workspace: Workspace,
    name: Callable[[T], str] = str,
) -> Iterator[tuple[T, str, Features]]:
    """(whatever came with an image, key, features), in order; features from the workspace or its workers.

    name: of an image, by what came with it, for features from files.
    """
    if isinstance(extractor, NamedSource):
        for item, image in images:
            features = extractor.of(name(item)).extract(image)
            yield item, key_of(extractor.info.model_hash, features.keypoints_px, features.descriptors), features
        return
    workers = workspace.workers
    shared = workers.share(extractor)

    def started() -> Iterator[tuple[tuple[T, str, bool], Pending[Features]]]:
        for item, image in images:
            key = key_of(extractor.info.model_hash, getattr(extractor, "config", None), image)
            known = workspace.load_features(key)
            pending = Done(known) if known is not None else workers.submit(_extract, shared, workers.share(image))
            yield (item, key, known is None), pending

    for (item, key, fresh), features in in_order(workers, started()):
        if fresh:
            workspace.store_features(key, features)
        yield item, key, features


def _extract(extractor: Describer, image: NDArray[Any]) -> Features:
    return extractor.extract(image).without_dense()  # thousands are kept, and sent between processes
