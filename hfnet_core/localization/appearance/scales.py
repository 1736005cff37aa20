"""What landmarks look like from nearer or further away than the map saw them, where the map knows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Pose
from hfnet_core.localization.appearance.viewing import zooms
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Float32

__all__ = ["at_other_scales", "suiting"]


def at_other_scales(landmark_map: LandmarkMap, landmarks: NDArray[np.int32]) -> Iterator[Float32]:
    """Unit descriptors [N, D] of landmarks, for each scale that the map knows besides its images' own."""
    for rows in landmark_map.scaled_descriptors[: len(landmark_map.scale_factors)]:
        yield unit(rows[landmarks])


def suiting(landmark_map: LandmarkMap, landmarks: NDArray[np.int32], map_from_camera: Pose, camera: Camera) -> Float32:
    """Unit descriptors [N, D] of landmarks at the scale that suits a camera at a pose best.

    camera: at the reference width. That costs a query about 1 ms, and nothing with a map of one scale.
    """
    found = unit(landmark_map.landmark_descriptors[landmarks])
    if not len(landmark_map.scale_factors) or not len(landmarks):
        return found
    factors = np.log(np.append(np.float32(1.0), landmark_map.scale_factors))
    best = np.abs(zooms(landmark_map, landmarks, map_from_camera, camera)[:, None] - factors).argmin(axis=1)
    for number, rows in enumerate(landmark_map.scaled_descriptors, start=1):
        wanted = np.flatnonzero(best == number)
        described = unit(rows[landmarks[wanted]])
        known = described.any(axis=1)
        found[wanted[known]] = described[known]
    return found
