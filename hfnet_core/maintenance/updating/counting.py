"""Which landmarks a visit saw again, and which it should have seen but did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization import covisibility
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.visits.counts import Counts
from hfnet_core.projection import project
from hfnet_core.types import Camera, Localized

__all__ = ["Sighting", "count_visit"]

_ASKED = 3  # images that should have shown a landmark, before its absence counts
_TURN_DEG, _NEARER = 30.0, 2.0  # from where it was seen: further round or so many times nearer, it may look different
_AROUND_PX = 12.0  # of the image's edge, where keypoints are none; at the reference width


@dataclass(frozen=True, eq=False)
class Sighting:
    """One image of a visit that was localized."""

    camera: Camera
    found: Localized


def count_visit(landmark_map: LandmarkMap, sightings: Sequence[Sighting]) -> Counts:
    """One visit's say, at most one hit or one miss for each landmark."""
    asked = np.zeros(landmark_map.landmarks, np.int64)
    found = np.zeros(landmark_map.landmarks, dtype=bool)
    for sighting in sightings:
        expected = _expected(landmark_map, sighting.found.map_from_camera, sighting.camera)
        asked[expected] += 1
        found[sighting.found.landmarks] = True
    return Counts(found.astype(np.int32), (~found & (asked >= _ASKED)).astype(np.int32))


def _expected(landmark_map: LandmarkMap, map_from_camera: Pose, camera: Camera) -> NDArray[np.int32]:
    """Landmarks that an image should show: some keyframe saw them from about there, so that nothing is in between."""
    keyframes = covisibility.nearby_keyframes(landmark_map, map_from_camera, LocalizerConfig.cluster_size)
    landmarks = covisibility.landmarks_seen_by(landmark_map, keyframes)
    if not len(landmarks):
        return landmarks
    xyz = landmark_map.landmarks_xyz[landmarks].astype(np.float64)
    pixels, visible = project(xyz, map_from_camera, landmark_map.calibration_for(camera))
    size = np.array([camera.width, camera.height])
    margin = _AROUND_PX * camera.width / 640
    with np.errstate(invalid="ignore"):
        visible &= ((pixels >= margin) & (pixels <= size - 1 - margin)).all(axis=1)
    ours, far = _rays(xyz, map_from_camera.translation)
    alike = np.zeros(len(landmarks), dtype=bool)
    for keyframe in keyframes:
        own = np.isin(landmarks, landmark_map.landmarks_of(keyframe)) & visible & ~alike
        theirs, their_far = _rays(xyz[own], landmark_map.keyframe_poses[keyframe, :, 3])
        near = np.einsum("ni,ni->n", ours[own], theirs) >= np.cos(np.radians(_TURN_DEG))
        ratio = far[own] / their_far
        alike[np.flatnonzero(own)[near & (ratio >= 1 / _NEARER) & (ratio <= _NEARER)]] = True
    return landmarks[alike]


def _rays(xyz: Array, centre: Array) -> tuple[Array, Array]:
    """Unit vectors from a camera to points [N, 3], and how far they are [N]."""
    rays = xyz - centre
    far = np.maximum(np.linalg.norm(rays, axis=1), 1e-9)
    return rays / far[:, None], far
