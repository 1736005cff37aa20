"""Which images to compare where poses are unknown, and what of their matches a camera's motion explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.extras import later
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.mapping.pairing.pair_matching import match_pairs
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.progress import Progress
from hfnet_core.projection import REFERENCE_WIDTH

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["Pairs", "image_pairs", "verified_matches"]

Pairs = Mapping[tuple[int, int], "pycolmap.TwoViewGeometry"]
_NEIGHBOURS = 5  # each image is compared with this many successors
_MIN_MATCHES = 15
_SEED = 0


def image_pairs(keyframes: Sequence[Keyframe], config: MapBuildConfig) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, sorted: successors in time, and the most similar images by global descriptor."""
    count = len(keyframes)
    pairs = {
        (i, j)
        for i in range(count)
        for j in range(i + 1, min(i + 1 + _NEIGHBOURS, count))
        if keyframes[i].recording == keyframes[j].recording
    }
    descriptors = np.array([keyframe.features.global_descriptor for keyframe in keyframes])
    for index, descriptor in enumerate(descriptors):
        order = np.argsort(-(descriptors @ descriptor), kind="stable")
        fresh = (int(other) for other in order if other != index)
        found = [(min(index, other), max(index, other)) for other in fresh]
        pairs.update([pair for pair in found if pair not in pairs][: config.pairs_per_keyframe])
    return sorted(pairs)


def verified_matches(
    keyframes: Sequence[Keyframe],
    pairs: Sequence[tuple[int, int]],
    config: MapBuildConfig,
    progress: Progress,
    workspace: Workspace,
) -> Pairs:
    """Two-view geometries (with the matches that agree with them) of the pairs that have one."""
    out = {}
    found = match_pairs(keyframes, pairs, config.match_ratio, workspace)
    for done, ((first, second), matches) in enumerate(found):
        progress("comparing images", done, len(pairs))
        one, other = keyframes[first], keyframes[second]
        if len(matches) >= _MIN_MATCHES:
            geometry = _geometry(one, other, matches, config)
            if len(geometry.inlier_matches) >= _MIN_MATCHES:
                out[first, second] = geometry
    progress("comparing images", len(pairs), len(pairs))
    return out


def _geometry(
    one: Keyframe, other: Keyframe, matches: NDArray[np.int32], config: MapBuildConfig
) -> pycolmap.TwoViewGeometry:
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = _SEED
    width = max(one.features.width, other.features.width)
    options.ransac.max_error = config.epipolar_error_px * max(width / REFERENCE_WIDTH, 1.0)
    options.compute_relative_pose = True
    sides = []
    for keyframe in (one, other):
        camera = to_pycolmap(keyframe.camera)
        camera.has_prior_focal_length = not keyframe.camera_guessed
        sides += [camera, keyframe.features.keypoints_px.astype(np.float64)]
    return pycolmap.estimate_two_view_geometry(*sides, matches.astype(np.uint32), options)
