"""Whether a pose explains the depths as well: a photograph of a place fits its landmarks, but it is flat and near."""

from __future__ import annotations

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import Correspondences, Query
from hfnet_core.localization.uncertainty.landmarks import landmark_covariance
from hfnet_core.maps.landmark_map import LandmarkMap

__all__ = ["depth_contradiction"]

_ASKED = 12  # fewer keypoints with a depth say nothing
_DEVIATIONS = 3.0  # within which a depth agrees,
_RELATIVE = 0.15  # beside errors of the scale and of the registration, which all share
_AGREEING = 0.5  # share of the depths that a right pose explains; whoever stands before it hides less


def depth_contradiction(support: Correspondences, query: Query, map_from_rig: Pose, landmark_map: LandmarkMap) -> str:
    """What the depths say against a pose; "" where they agree or tell too little.

    support: the correspondences that agree with the pose. Their landmarks must be as far away as depth images show
    them, for the most part. A map whose metres are arbitrary is not asked.
    """
    if all(view.ranges is None for view in query.views):
        return ""
    scale = landmark_map.provenance.get("scale")
    if scale and scale.get("source") == "arbitrary":
        return ""
    found = [_of_view(support, query, number, map_from_rig, landmark_map) for number in range(len(query.views))]
    measured, expected, sigma_m = np.concatenate(found, axis=1)
    if len(measured) < _ASKED:
        return ""
    agreeing = np.abs(measured - expected) <= _DEVIATIONS * sigma_m + _RELATIVE * expected
    if agreeing.mean() >= _AGREEING:
        return ""
    ratio = float(np.median(measured / expected))
    return f"{int(agreeing.sum())} of {len(measured)} depths fit the pose, which are {ratio:.2f} of what it predicts"


def _of_view(
    support: Correspondences, query: Query, number: int, map_from_rig: Pose, landmark_map: LandmarkMap
) -> Array:
    """[3, N] measured and predicted distance of each inlier with a depth, and how well their difference is known."""
    view, own = query.views[number], support.where(support.views == number)
    if view.ranges is None or not len(own):
        return np.zeros((3, 0))
    ranges = view.ranges.where(own.keypoints)
    map_from_camera = map_from_rig @ view.rig_from_camera
    far = map_from_camera.inverse().apply(own.points)[:, 2]
    axis = map_from_camera.rotation[:, 2]
    along2 = axis @ landmark_covariance(landmark_map, own.landmarks) @ axis
    known = np.isfinite(ranges.metres) & (far > 0)
    return np.stack([ranges.metres, far, np.sqrt(ranges.sigma_m**2 + along2)])[:, known]
