"""How long the focal length is, far from what was given: for images that no pose explains at the one given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.localization.absolute_pose.problem import Seen
from hfnet_core.localization.absolute_pose.ransac import Ransac, solve_absolute_pose
from hfnet_core.localization.correspondences import between
from hfnet_core.localization.uncertainty.calibration.deviation import Deviation, with_focal
from hfnet_core.localization.uncertainty.calibration.evidence import Evidence, Sighted, evidence_of

__all__ = ["OTHER_FOCAL", "refined", "search_focal_length"]

_CHANGES = np.linspace(-1.05, 1.05, 9)  # of the logarithm: from a third to three times what was given
_GIVEN = len(_CHANGES) // 2
_STEPS = 5  # from the best of these to the focal length
_ITERATIONS = 300  # of RANSAC for each
_MATCHES = 200  # that are looked at
_INLIERS, _BETTER = 20, 1.3  # how many matches must agree, and times those that agree at the focal length given
OTHER_FOCAL = 0.05  # change from which it is another focal length


def search_focal_length(seen: Sighted, limit_px: float) -> Evidence | None:
    """What an image says of the focal length.

    seen: matches, many of them wrong; its pose is not used. None where they do not clearly ask for another focal
    length.
    """
    seen = seen.thinned(_MATCHES)
    ransac = Ransac(limit_px, max_iterations=_ITERATIONS, enough=_INLIERS)
    found = [_posed(seen, change, ransac) for change in _CHANGES]
    counts = np.array([0 if one is None else one[1] for one in found])
    best = found[int(counts.argmax())]
    if best is None:
        return None
    evidence = refined(replace(seen, map_from_camera=best[0]), float(_CHANGES[counts.argmax()]), limit_px)
    if evidence is None or abs(evidence.around.focal) < OTHER_FOCAL:
        return None
    given = found[_GIVEN]
    there = None if given is None else evidence_of(replace(seen, map_from_camera=given[0]), limit_px)
    enough = max(_INLIERS, _BETTER * (0 if there is None else there.close))
    return evidence if evidence.close >= enough else None


def refined(seen: Sighted, focal: float, limit_px: float) -> Evidence | None:
    """At the focal length that fits best."""
    evidence = None
    for _ in range(_STEPS):
        evidence = evidence_of(seen, limit_px, Deviation(focal))
        if evidence is None or not evidence.information[0, 0] > 0.0:
            return None
        focal = float(evidence.score[0] / evidence.information[0, 0])
        if not abs(focal) < _CHANGES[-1]:
            return None
        seen = replace(seen, map_from_camera=evidence.pose_at(Deviation(focal)))
    return evidence


def _posed(seen: Sighted, change: float, ransac: Ransac) -> tuple[Pose, int] | None:
    found, query = between(seen.pixels, seen.points, with_focal(seen.camera, change))
    answer = solve_absolute_pose([Seen(found.pixels, found.points, query.cameras[0])], ransac)
    return None if answer is None else (answer[0], int(answer[1].sum()))
