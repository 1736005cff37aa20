"""A query beside the map image that it was matched with: matches that fit the pose green, others red."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.images.pixels import as_uint8
from hfnet_core.localization.matching import match_all
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import pixel_scale, project
from hfnet_core.types import Camera, Features, Localization, Localized

__all__ = ["Pairing", "best_pairing", "draw_pairing", "pair_with"]

_RATIO = 0.9  # between different observations of one map image
_FITS_PX = 6.0  # at 640 pixels of width
_HEIGHT = 360  # of the picture
_MOST = 120  # lines of each kind
_GAP = 6
_FITS, _LOST, _SEEN = (40, 220, 60), (235, 60, 50), (120, 130, 140)  # RGB


@dataclass(frozen=True, eq=False)
class Pairing:
    """Matches of a query with one map image. query_px, map_px: [N, 2]. fits: [N] whether the pose explains them."""

    keyframe: int
    query_px: NDArray[np.float64]
    map_px: NDArray[np.float64]
    fits: NDArray[np.bool_]


def pair_with(
    landmark_map: LandmarkMap, keyframe: int, features: Features, camera: Camera, found: Localization
) -> Pairing:
    """Match a query with what one keyframe sees; without a pose nothing fits."""
    rows = landmark_map.observations_of(keyframe)
    described = unit(landmark_map.observation_descriptors[rows])
    matches = match_all(features.descriptors, described, np.arange(len(rows), dtype=np.int32), _RATIO)
    query_px = features.keypoints_px[matches.keypoints].astype(np.float64)
    fits = np.zeros(len(query_px), dtype=bool)
    if isinstance(found, Localized) and len(query_px):
        points = landmark_map.landmarks_xyz[landmark_map.landmarks_of(keyframe)[matches.landmarks]]
        known = landmark_map.calibration_for(camera)
        expected, visible = project(points.astype(np.float64), found.map_from_camera, known)
        distance = np.linalg.norm(np.nan_to_num(expected, nan=1e9) - query_px, axis=1)
        fits = visible & (distance <= _FITS_PX * pixel_scale(camera))
    return Pairing(keyframe, query_px, landmark_map.observation_px[rows][matches.landmarks].astype(np.float64), fits)


def best_pairing(
    landmark_map: LandmarkMap, keyframes: Iterable[int], features: Features, camera: Camera, found: Localization
) -> Pairing | None:
    """With the keyframe that explains most; None for no keyframes."""
    pairings = [pair_with(landmark_map, keyframe, features, camera, found) for keyframe in keyframes]
    return max(pairings, key=lambda pairing: (int(pairing.fits.sum()), len(pairing.fits)), default=None)


def draw_pairing(
    query: NDArray[Any], pairing: Pairing, map_image: NDArray[Any] | None, landmark_map: LandmarkMap
) -> NDArray[np.uint8]:
    """RGB. map_image: None where it is not at hand; then what the keyframe sees is drawn as dots.

    Images: gray or RGB, 8 or 16 bit, of the sizes of their cameras.
    """
    left, left_scale = _scaled(query)
    camera = landmark_map.cameras[landmark_map.keyframe_cameras[pairing.keyframe]]
    if map_image is None:
        map_image = np.zeros((camera.height, camera.width, 3), np.uint8)
        seen = landmark_map.observation_px[landmark_map.observations_of(pairing.keyframe)]
        for x, y in np.rint(seen).astype(int).tolist():
            cv2.circle(map_image, (x, y), max(1, camera.width // 320), _SEEN, -1)
    right, right_scale = _scaled(map_image)
    start = left.shape[1] + _GAP
    canvas = np.zeros((_HEIGHT, start + right.shape[1], 3), np.uint8)
    canvas[:, : left.shape[1]] = left
    canvas[:, start:] = right
    for colour, chosen in ((_LOST, ~pairing.fits), (_FITS, pairing.fits)):
        rows = np.flatnonzero(chosen)
        for row in rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(int))]:
            a = np.rint(pairing.query_px[row] * left_scale).astype(int)
            b = np.rint(pairing.map_px[row] * right_scale).astype(int)
            ends = (int(a[0]), int(a[1])), (int(b[0]) + start, int(b[1]))
            cv2.line(canvas, *ends, colour, 1, cv2.LINE_AA)
            for end in ends:
                cv2.circle(canvas, end, 2, colour, -1, cv2.LINE_AA)
    return canvas


def _scaled(image: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    """RGB at the height of the picture, and by how much it was scaled."""
    shown = as_uint8(image)
    coloured = cv2.cvtColor(shown, cv2.COLOR_GRAY2RGB) if shown.ndim == 2 else shown
    scale = _HEIGHT / coloured.shape[0]
    size = (max(round(coloured.shape[1] * scale), 1), _HEIGHT)
    return np.asarray(cv2.resize(coloured, size, interpolation=cv2.INTER_AREA), np.uint8), scale
