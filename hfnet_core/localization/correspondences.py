"""What is asked of the localizer, and what it has matched: values that every stage takes and none changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, MapError
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import covisibility
from hfnet_core.localization.matching import Matches
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale
from hfnet_core.types import Camera, Features, Float32, Ranges

__all__ = ["Correspondences", "Query", "Stopwatch", "View", "between", "joined"]


@dataclass(frozen=True, eq=False)
class View:
    """What one camera shows: its features, its calibration, and where it sits on the rig.

    rig_from_camera: for example base_from_camera of a robot; the identity for a single camera. ranges: of the
    keypoints, where depth is known. Raises ConfigError where image and calibration differ in size, the mounting is not
    finite, or ranges are not those of the keypoints.
    """

    features: Features
    camera: Camera
    rig_from_camera: Pose = field(default_factory=Pose)
    ranges: Ranges | None = None

    def __post_init__(self) -> None:
        features, camera = self.features, self.camera
        if (features.width, features.height) != (camera.width, camera.height):
            raise ConfigError(
                f"the image is {features.width}x{features.height}, but its camera {camera.width}x{camera.height}: "
                "give the calibration of this image size"
            )
        if not self.rig_from_camera.is_finite():
            raise ConfigError("the camera's place on the rig is not finite")
        if self.ranges is not None and len(self.ranges.metres) != len(features):
            raise ConfigError(f"{len(self.ranges.metres)} ranges are not of {len(features)} keypoints")


class Stopwatch:
    """Seconds by stage: each lap counts for the stage it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._computing_s = time.thread_time()

    @property
    def computed_s(self) -> float:
        """Processor time of this thread since the beginning: what others do on the machine does not count."""
        return time.thread_time() - self._computing_s

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._started
        self._started = now


@dataclass(frozen=True, eq=False)
class Query:
    """The views of one moment with the calibrations that the map knows, and the time spent on them.

    ranked: keyframes by similarity to a view and how similar they are, once somebody asked. seen: landmarks of
    keyframes, likewise.

    Pixels count at the reference width (640 px), so that one threshold holds for all cameras.
    """

    views: tuple[View, ...]
    clock: Stopwatch = field(default_factory=Stopwatch)
    ranked: dict[int, tuple[NDArray[np.int64], Float32]] = field(default_factory=dict)
    seen: dict[tuple[int, ...], NDArray[np.int32]] = field(default_factory=dict)

    @classmethod
    def of(cls, views: Sequence[View], landmark_map: LandmarkMap) -> Query:
        """Raises ConfigError where features are not of one image or not finite, MapError where they are of another
        model than the map's."""
        known = []
        for view in views:
            _check(view.features, landmark_map)
            known.append(replace(view, camera=landmark_map.calibration_for(view.camera)))
        return cls(tuple(known))

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """Of all views, resized to the reference width."""
        return tuple(_at_reference(view.camera) for view in self.views)

    @cached_property
    def keypoints(self) -> tuple[Array, ...]:
        """[K, 2] of each view, float64 pixels at the reference width."""
        return tuple(_reference_px(view.features.keypoints_px, view.camera) for view in self.views)

    @property
    def keypoint_count(self) -> int:
        return sum(len(view.features) for view in self.views)

    def landmarks_seen_by(self, landmark_map: LandmarkMap, keyframes: tuple[int, ...]) -> NDArray[np.int32]:
        """Sorted unique landmarks of several keyframes, looked up once for each query."""
        if keyframes not in self.seen:
            self.seen[keyframes] = covisibility.landmarks_seen_by(landmark_map, keyframes)
        return self.seen[keyframes]

    def located(self, view: int, matches: Matches, landmark_map: LandmarkMap) -> Correspondences:
        """Matches of one view with their geometry."""
        points = landmark_map.landmarks_xyz[matches.landmarks].astype(np.float64)
        views, pixels = np.full(len(matches), view, np.int32), self.keypoints[view][matches.keypoints]
        return Correspondences(views, matches.keypoints, matches.landmarks, matches.unguided, pixels, points)

    def image_px(self, found: Correspondences) -> Float32:
        """[N, 2] keypoints of correspondences in pixels of their own images."""
        out = np.zeros((len(found), 2), np.float32)
        for number, view in enumerate(self.views):
            own = found.views == number
            out[own] = view.features.keypoints_px[found.keypoints[own]]
        return out


def _check(features: Features, landmark_map: LandmarkMap) -> None:
    count, size = len(features), landmark_map.observation_descriptors.shape[1]
    if features.keypoints_px.shape != (count, 2) or features.descriptors.shape[:-1] != (count,):
        shapes = f"keypoints {features.keypoints_px.shape} and descriptors {features.descriptors.shape}"
        raise ConfigError(f"{shapes} are not of one image")
    if count and landmark_map.landmarks and features.descriptors.shape[1] != size:
        raise MapError(
            f"the query's descriptors have {features.descriptors.shape[1]} values, the map's {size}: "
            "use the model that made the map, or describe it anew with `hfnet map upgrade`"
        )
    parts = (features.keypoints_px, features.descriptors, features.global_descriptor)
    if not all(np.isfinite(part).all() for part in parts):
        raise ConfigError("the features of the image are not finite numbers: is the model damaged?")


def _at_reference(camera: Camera) -> Camera:
    scale = pixel_scale(camera)
    return camera if scale == 1.0 else camera.scaled(round(camera.width / scale), round(camera.height / scale))


def _reference_px(keypoints_px: NDArray[Any], camera: Camera) -> Array:
    scale, keypoints = pixel_scale(camera), keypoints_px.astype(np.float64)
    return keypoints if scale == 1.0 else (keypoints + 0.5) / scale - 0.5


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Keypoints of one or several views, and the landmarks they were matched with.

    views: [N] number of the view. keypoints, landmarks, unguided: as in Matches. pixels: [N, 2] at the reference
    width. points: [N, 3] metres, in the map.
    """

    views: NDArray[np.int32]
    keypoints: NDArray[np.int64]
    landmarks: NDArray[np.int32]
    unguided: NDArray[np.bool_]
    pixels: Array
    points: Array

    def __len__(self) -> int:
        return len(self.views)

    def where(self, chosen: NDArray[Any]) -> Correspondences:
        """Those chosen by index or mask."""
        return Correspondences(*(getattr(self, item.name)[chosen] for item in fields(self)))

    @property
    def count(self) -> int:
        """Keypoints with a match; one that was matched in several places counts once."""
        return len(np.unique(self.keypoint_keys))

    @property
    def keypoint_keys(self) -> NDArray[np.int64]:
        """[N] a number for each keypoint of each view."""
        return self.keypoints << 8 | self.views


def joined(parts: Sequence[Correspondences]) -> Correspondences:
    """All of several, each pair of keypoint and landmark once. There must be at least one part."""
    if len(parts) == 1:
        return parts[0]
    columns = [np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Correspondences)]
    found = Correspondences(*columns)
    pairs = found.keypoint_keys << 31 | found.landmarks
    return found.where(np.sort(np.unique(pairs, return_index=True)[1]))


def between(keypoints_px: NDArray[Any], points: NDArray[Any], camera: Camera) -> tuple[Correspondences, Query]:
    """Pixels [N, 2] of one camera and the points [N, 3] they are taken for, with the query that they are of."""
    rows, nothing = np.arange(len(points)), np.zeros((len(points), 0), np.float32)
    keypoints = np.asarray(keypoints_px, np.float32)
    scores, nowhere = np.ones(len(rows), np.float32), np.zeros(0, np.float32)
    features = Features(keypoints, scores, nothing, nowhere, camera.width, camera.height)
    query = Query((View(features, camera),))
    pixels = _reference_px(np.asarray(keypoints_px, np.float64), camera)
    found = Correspondences(
        np.zeros(len(rows), np.int32),
        rows,
        rows.astype(np.int32),
        np.ones(len(rows), bool),
        pixels,
        np.asarray(points, np.float64),
    )
    return found, query
