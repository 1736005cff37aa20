"""Whether a pose is believed, and what is said of it."""

from __future__ import annotations

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array
from hfnet_core.localization import focal, uncertainty
from hfnet_core.localization.correspondences import Query
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import FocalFit, Localization, Localized, NotLocalized, Reason

__all__ = ["judge", "overwhelming", "refused", "weakness"]

_OVERWHELMING = 2.0  # times what acceptance needs


def judge(query: Query, hypothesis: Hypothesis, landmark_map: LandmarkMap, config: LocalizerConfig) -> Localization:
    """The answer: the pose with its covariance, or why it is not believed."""
    lacks = weakness(query, hypothesis, config)
    if lacks is not None:
        return refused(query, Reason.WEAK_EVIDENCE, lacks, hypothesis)
    support = hypothesis.found.where(hypothesis.agreeing)
    linear = uncertainty.linearised(support, query, hypothesis.map_from_rig)
    covariance, rms_px = uncertainty.covariance_of(linear)
    if not np.isfinite(covariance).all():
        return refused(query, Reason.WEAK_EVIDENCE, "the inliers do not determine the pose", hypothesis)
    fits, of_focal = _focal_lengths(query, linear)
    query.clock.lap("covariance")
    unused = hypothesis.found.where(~hypothesis.agreeing)
    return Localized(
        map_from_camera=hypothesis.map_from_rig,
        covariance=_with_frame(covariance + of_focal, landmark_map),
        mode=hypothesis.mode,
        inliers=hypothesis.inliers,
        matches=hypothesis.matches,
        keypoints_px=query.image_px(support),
        landmarks=support.landmarks,
        keyframes=hypothesis.keyframes,
        coverage=uncertainty.coverage(support, query),
        reprojection_px=rms_px,
        timings_s=query.clock.seconds,
        views=support.views,
        unused_px=query.image_px(unused),
        unused_views=unused.views,
        focal=fits,
    )


def weakness(query: Query, hypothesis: Hypothesis, config: LocalizerConfig, factor: float = 1.0) -> str | None:
    """What is missing for acceptance (with a factor above 1: for overwhelming evidence), or None."""
    inliers, ratio = hypothesis.inliers, hypothesis.inliers / max(hypothesis.matches, 1)
    covered = uncertainty.coverage(hypothesis.evidence, query)
    if inliers < factor * config.min_inliers:
        return f"{inliers} inliers, need {config.min_inliers}"
    if ratio < min(factor * config.min_inlier_ratio, 0.9):
        return f"inlier ratio {ratio:.2f}, need {config.min_inlier_ratio:.2f}"
    if covered < min(factor * config.min_coverage, 0.9):
        return f"inliers cover {covered:.2f} of the image, need {config.min_coverage:.2f}"
    return None


def overwhelming(query: Query, hypothesis: Hypothesis, config: LocalizerConfig) -> bool:
    """Whether it is not worth while to look for another."""
    return weakness(query, hypothesis, config, _OVERWHELMING) is None


def refused(query: Query, reason: Reason, detail: str, best: Hypothesis) -> NotLocalized:
    """No pose, and what came nearest to one."""
    return NotLocalized(
        reason,
        detail,
        best.matches,
        best.inliers,
        best.keyframes,
        query.clock.seconds,
        unused_px=query.image_px(best.found),
        unused_views=best.found.views,
    )


def _focal_lengths(query: Query, linear: uncertainty.Linearised) -> tuple[tuple[FocalFit | None, ...], Array]:
    """What each view says of its focal length, and the covariance [6, 6] of what that leaves open.

    A wrong focal length moves the pose without a trace in the residuals.
    """
    fits: list[FocalFit | None] = []
    covariance = np.zeros((6, 6))
    for view, camera in enumerate(query.cameras):
        found = focal.focal_fit(linear, camera, view)
        fits.append(None if found is None else found[0])
        if found is not None:
            moved = focal.off_by(found[0]) * found[1]
            covariance = covariance + np.outer(moved, moved)
    return tuple(fits), covariance


def _with_frame(covariance: Array, landmark_map: LandmarkMap) -> Array:
    """Covariance of a pose among the landmarks plus what these cannot show: errors of the map's frame."""
    floor = np.repeat([landmark_map.pose_sigma_m**2, landmark_map.pose_sigma_rad**2], 3)
    return covariance + np.diag(floor)
