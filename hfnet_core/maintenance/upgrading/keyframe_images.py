"""The images that a map's keyframes were made of, found again in its recordings and described anew."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.features.sources import preparation_for
from hfnet_core.images.preparation import ROTATIONS, Preparation
from hfnet_core.mapping.keyframes.reading import BuildTools, described
from hfnet_core.maps.description import recording_number
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag, BagFrame, open_cameras
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Features, Ranges

__all__ = ["Redescribed", "redescribed"]

_log = logging.getLogger(__name__)

Fit = tuple[bool, bool, bool, bool]
Told = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Redescribed:
    """A keyframe's new features. key: names them in a workspace. ranges: of its keypoints, where depth was recorded."""

    features: Features
    key: str
    ranges: Ranges | None = None


def redescribed(
    landmark_map: LandmarkMap,
    bags: Sequence[Path],
    tools: BuildTools,
    options: BagOptions | Sequence[BagOptions] | None = None,
) -> dict[int, Redescribed]:
    """Keyframes by number whose images are in the recordings, described by the extractor of `tools`.

    An image belongs to the keyframe of its stamp and size; where several recordings or cameras have an image of that
    time, topic, frame, calibration and number of images decide, as far as the map tells them. Poses and calibrations of
    the recordings are not used otherwise. A damaged image is a line in the log. Raises DatasetError for a recording
    that cannot be read.
    """
    given = options if isinstance(options, Sequence) else [options or BagOptions()]
    bare = [replace(own, poses_wanted=False, camera_optional=True, trust_calibration=True) for own in given]
    told = landmark_map.keyframe_recordings
    sources = _sources(landmark_map, told, open_cameras(bags, bare))
    out: dict[int, Redescribed] = {}
    for number, bag in enumerate(open_cameras(bags, bare)):
        owners: dict[int, list[int]] = {}  # image -> keyframes, several where maps of one recording were merged
        for keyframe, (source, index) in sources.items():
            if source == number:
                owners.setdefault(index, []).append(keyframe)
        for index, found in _described(landmark_map, told, bag, owners, tools) if owners else ():
            out.update(dict.fromkeys(owners[index], found))
            tools.progress("extracting features", len(out), len(sources))
    return out


def _sources(landmark_map: LandmarkMap, told: Told, cameras: Iterator[Bag]) -> dict[int, tuple[int, int]]:
    """For each keyframe that is found: the number of its bag and camera, and the index of its image there."""
    by_stamp: dict[int, list[int]] = {}
    for keyframe, stamp in enumerate(landmark_map.keyframe_stamps_ns.tolist()):
        if stamp >= 0:
            by_stamp.setdefault(stamp, []).append(keyframe)
    single = len({_names(item) for item in told}) == 1
    best: dict[int, tuple[Fit, tuple[int, int]]] = {}
    for number, bag in enumerate(cameras):
        frame = next(bag.frames(), None)
        if frame is None:
            continue
        first: dict[int, int] = {}
        for index, item in enumerate(bag.timeline()):
            first.setdefault(item.stamp_ns, index)  # as in a build, a later image of the same stamp has no pose
        for stamp in by_stamp.keys() & first.keys():
            for keyframe in by_stamp[stamp]:
                same, fit = _fit(landmark_map, keyframe, told[keyframe], (number, bag, frame))
                if (same or single) and (keyframe not in best or fit > best[keyframe][0]):
                    best[keyframe] = (fit, (number, first[stamp]))
    return {keyframe: source for keyframe, (_, source) in sorted(best.items())}


def _names(told: Mapping[str, Any]) -> tuple[object, object]:
    """What a recording calls its camera."""
    return told.get("image_topic"), told.get("camera_frame")


def _fit(
    landmark_map: LandmarkMap, keyframe: int, told: Mapping[str, Any], source: tuple[int, Bag, BagFrame]
) -> tuple[bool, Fit]:
    """Whether a bag's camera may be a keyframe's by its name, and how well all fits that is known of both."""
    number, bag, frame = source
    topic, camera_frame = _names(told)
    same = topic == bag.image_topic.name or (bool(bag.camera_frame) and camera_frame == bag.camera_frame)
    calibrations = landmark_map.given_cameras or landmark_map.cameras
    calibrated = calibrations[landmark_map.keyframe_cameras[keyframe]] == frame.camera
    own = recording_number(landmark_map.keyframe_names[keyframe])
    return same or not told, (same, calibrated, told.get("images") == len(bag), own == number)


def _described(
    landmark_map: LandmarkMap, told: Told, bag: Bag, owners: Mapping[int, Sequence[int]], tools: BuildTools
) -> Iterator[tuple[int, Redescribed]]:
    """(index of the image, features) of a bag's images that are keyframes."""

    def prepared() -> Iterator[tuple[tuple[BagFrame, Preparation], NDArray[Any]]]:
        for frame in bag.frames(owners.keys()):
            keyframe = owners[frame.index][0]
            camera = landmark_map.cameras[landmark_map.keyframe_cameras[keyframe]]
            if frame.image.shape[:2] != (camera.height, camera.width):
                bag.broken.append(f"image {frame.index}: is not of the size of the map's camera")
                continue
            turned = told[keyframe].get("image_rotation")
            preparation = replace(frame.preparation, rotation=turned) if turned in ROTATIONS else frame.preparation
            fitting = preparation_for(tools.extractor, preparation)
            yield (frame, fitting), fitting.before(frame.image)

    name = lambda item: landmark_map.keyframe_names[owners[item[0].index][0]]  # noqa: E731
    masks = sorted({str(told[keyframes[0]].get("mask", "")) for keyframes in owners.values()} - {""})
    if masks and bag.options.mask is None:
        _log.warning("%s: its keyframes were made with the mask %s: give it with --mask", bag.path, masks[0])
    with recorded_depth(bag) as depth:
        for (frame, preparation), key, turned in described(prepared(), tools.describer, tools.workspace, name):
            features = preparation.after(turned)
            yield frame.index, Redescribed(features, key, depth.ranges(frame.stamp_ns, features, frame.camera))
    for line in bag.broken:
        _log.warning("%s: left out: %s", bag.path, line)
