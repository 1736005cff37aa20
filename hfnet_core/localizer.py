"""Hierarchical localization of one image: retrieval, covisibility, matching, pose, judgement.

Source: Sarlin et al., CVPR 2019, section 3 and its supplementary material; refinement by a second, guided matching pass
and the judgement of a pose are ours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hfnet_core import covisibility, matching, pose
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.matching import Matches
from hfnet_core.retrieval import Retriever
from hfnet_core.types import Camera, Features, Float32, Localization, Localized, Mode, NotLocalized, Reason

__all__ = ["Localizer"]

_SAME_PLACE_M, _SAME_PLACE_DEG = 0.5, 10.0  # poses closer than this are the same answer
_GUIDED_RADIUS_PX = 12.0  # second matching pass around a solved pose
_GUIDED_RATIO = 0.95


@dataclass
class _Clock:
    """Seconds spent by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    """A solved pose with its correspondences, and the correspondences that speak for it.

    `evidence` was matched without knowing this pose; `matches` may have been guided by it and only make it precise.
    """

    solution: pose.Solution
    matches: Matches
    keyframes: tuple[int, ...]
    evidence_px: Float32
    evidence_matches: int

    @property
    def inliers(self) -> int:
        return len(self.evidence_px)


class Localizer:
    """Localizes images in one map. Stateless between calls and safe to share between threads."""

    def __init__(self, landmark_map: LandmarkMap, config: LocalizerConfig | None = None) -> None:
        self.map = landmark_map
        self.config = config or LocalizerConfig()
        self._retriever = Retriever(landmark_map.global_descriptors)
        self._descriptors = landmark_map.landmark_descriptors

    def localize(self, features: Features, camera: Camera, prior: Pose | None = None) -> Localization:
        """The pose of an image, or the reason why there is none.

        prior: expected map_from_camera; with it only landmarks near their expected place are matched and no other
        place is considered. Without it the whole map is searched. Raises ConfigError if features and camera
        differ in size.
        """
        clock = _Clock()
        refusal = self._refuse_input(features, camera)
        if refusal is not None:
            return refusal
        if prior is not None:
            return self._track(features, camera, prior, clock)
        return self._search(features, camera, clock)

    def _refuse_input(self, features: Features, camera: Camera) -> NotLocalized | None:
        if (features.width, features.height) != (camera.width, camera.height):
            raise ConfigError(f"the image is {features.width}x{features.height}, its camera {camera.width}x{camera.height}"
                              ": give the calibration of this image size")  # fmt: skip
        if self.map.landmarks == 0 or self.map.keyframes == 0:
            return NotLocalized(Reason.EMPTY_MAP)
        if len(features) < self.config.min_inliers:
            return NotLocalized(Reason.TOO_FEW_KEYPOINTS, f"{len(features)}, need {self.config.min_inliers}")
        return None

    def _search(self, features: Features, camera: Camera, clock: _Clock) -> Localization:
        config = self.config
        retrieved, similarity = self._retriever.query(features.global_descriptor, config.retrieved)
        clock.lap("retrieval")
        if len(retrieved) == 0:
            return NotLocalized(Reason.NO_CANDIDATES, timings_s=clock.seconds)
        places = covisibility.cluster(self.map, [int(k) for k in retrieved], [float(s) for s in similarity])
        clock.lap("covisibility")
        hypotheses: list[_Hypothesis] = []
        most_matches = 0
        likeness = {int(k): float(s) for k, s in zip(retrieved, similarity, strict=True)}
        for place, following in zip(places[: config.max_clusters], [*places[1:], ()], strict=False):
            keyframes = covisibility.grow(self.map, place, config.cluster_size)
            matches = self._match_place(features, keyframes)
            most_matches = max(most_matches, len(matches))
            clock.lap("matching")
            hypothesis = self._solve(features, camera, matches, keyframes)
            clock.lap("pose")
            if hypothesis is None:
                continue
            hypotheses.append(hypothesis)
            overwhelming = self._weakness(camera, hypothesis, Mode.GLOBAL, factor=2.0) is None
            if overwhelming and not _looks_alike(place, following, likeness):
                break
        if not hypotheses:
            reason = Reason.NO_CONSENSUS if most_matches >= config.min_inliers else Reason.TOO_FEW_MATCHES
            return NotLocalized(reason, f"{most_matches} matches", most_matches, timings_s=clock.seconds)
        best, *others = sorted(hypotheses, key=lambda hypothesis: -hypothesis.inliers)
        rival = self._rival(best, others)
        if rival is not None and self._weakness(camera, best, Mode.GLOBAL) is None:
            return NotLocalized(Reason.AMBIGUOUS, f"{best.inliers} and {rival.inliers} inliers",
                                best.evidence_matches, best.inliers, best.keyframes, clock.seconds)  # fmt: skip
        refined = self._refine(features, camera, best, _GUIDED_RADIUS_PX)
        clock.lap("refinement")
        return self._judge(features, camera, refined, Mode.GLOBAL, clock)

    def _track(self, features: Features, camera: Camera, prior: Pose, clock: _Clock) -> Localization:
        keyframes = covisibility.nearby_keyframes(self.map, prior, self.config.cluster_size)
        matches = self._match_near(features, camera, prior, keyframes, self.config.tracking_radius_px)
        clock.lap("matching")
        hypothesis = self._solve(features, camera, matches, keyframes)
        clock.lap("pose")
        if hypothesis is None:
            few = len(matches) < self.config.min_inliers
            reason = Reason.TOO_FEW_MATCHES if few else Reason.NO_CONSENSUS
            return NotLocalized(reason, f"{len(matches)} matches near the prior", len(matches), timings_s=clock.seconds)
        refined = self._refine(features, camera, hypothesis, _GUIDED_RADIUS_PX / 2)
        clock.lap("refinement")
        return self._judge(features, camera, refined, Mode.TRACKING, clock)

    def _match_place(self, features: Features, keyframes: Sequence[int]) -> Matches:
        landmarks = covisibility.landmarks_seen_by(self.map, keyframes)
        descriptors = self._descriptors[landmarks].astype(np.float32)
        return matching.match_all(features.descriptors, descriptors, landmarks, self.config.ratio)

    def _match_near(
        self, features: Features, camera: Camera, map_from_camera: Pose, keyframes: Sequence[int], radius_px: float
    ) -> Matches:
        landmarks = covisibility.landmarks_seen_by(self.map, keyframes)
        projections, visible = pose.project(self.map.landmarks_xyz[landmarks], map_from_camera, camera)
        landmarks, projections = landmarks[visible], projections[visible]
        descriptors = self._descriptors[landmarks].astype(np.float32)
        return matching.match_guided(features.keypoints_px, features.descriptors, projections, descriptors, landmarks,
                                     radius_px * pose.pixel_scale(camera), _GUIDED_RATIO)  # fmt: skip

    def _solve(
        self, features: Features, camera: Camera, matches: Matches, keyframes: tuple[int, ...]
    ) -> _Hypothesis | None:
        keypoints = features.keypoints_px[matches.keypoints]
        solution = pose.solve(keypoints, self.map.landmarks_xyz[matches.landmarks], camera, self.config)
        if solution is None:
            return None
        return _Hypothesis(solution, matches, keyframes, keypoints[solution.inliers], len(matches))

    def _refine(self, features: Features, camera: Camera, first: _Hypothesis, radius_px: float) -> _Hypothesis:
        """Match once more, guided by the pose, among all landmarks of its neighbourhood; keep what explains more."""
        near = covisibility.nearby_keyframes(self.map, first.solution.map_from_camera, self.config.cluster_size)
        keyframes = tuple(dict.fromkeys(first.keyframes + near))
        matches = self._match_near(features, camera, first.solution.map_from_camera, keyframes, radius_px)
        second = self._solve(features, camera, matches, keyframes)
        if second is None or second.solution.count < first.solution.count:
            return first
        return replace(second, evidence_px=first.evidence_px, evidence_matches=first.evidence_matches)

    def _rival(self, best: _Hypothesis, others: Sequence[_Hypothesis]) -> _Hypothesis | None:
        """Another hypothesis at another place with nearly as many inliers."""
        for other in others:
            metres, degrees = pose_error(best.solution.map_from_camera, other.solution.map_from_camera)
            elsewhere = metres > _SAME_PLACE_M or degrees > _SAME_PLACE_DEG
            if elsewhere and other.inliers >= self.config.ambiguity_ratio * best.inliers:
                return other
        return None

    def _weakness(self, camera: Camera, hypothesis: _Hypothesis, mode: Mode, factor: float = 1.0) -> str | None:
        """What is missing for acceptance (for overwhelming evidence with factor > 1), or None."""
        config = self.config
        inliers, ratio = hypothesis.inliers, hypothesis.inliers / max(hypothesis.evidence_matches, 1)
        covered = pose.coverage(hypothesis.evidence_px, camera)
        min_ratio = config.min_inlier_ratio
        if mode is Mode.TRACKING:  # within the search radius this share agrees with the prior by chance
            min_ratio = max(min_ratio, 3.0 * (config.reprojection_error_px / config.tracking_radius_px) ** 2)
        if inliers < factor * config.min_inliers:
            return f"{inliers} inliers, need {config.min_inliers}"
        if ratio < min(factor * min_ratio, 0.9):
            return f"inlier ratio {ratio:.2f}, need {min_ratio:.2f}"
        if covered < min(factor * config.min_coverage, 0.9):
            return f"inliers cover {covered:.2f} of the image, need {config.min_coverage}"
        return None

    def _judge(
        self, features: Features, camera: Camera, hypothesis: _Hypothesis, mode: Mode, clock: _Clock
    ) -> Localization:
        matches, inliers = hypothesis.evidence_matches, hypothesis.inliers
        weakness = self._weakness(camera, hypothesis, mode)
        if weakness is None:
            chosen = hypothesis.solution.inliers
            keypoints = features.keypoints_px[hypothesis.matches.keypoints[chosen]]
            landmarks = hypothesis.matches.landmarks[chosen]
            map_from_camera = hypothesis.solution.map_from_camera
            points = self.map.landmarks_xyz[landmarks]
            covariance, rms_px = pose.pose_covariance(keypoints, points, map_from_camera, camera)
            clock.lap("covariance")
            if np.isfinite(covariance).all():
                return Localized(map_from_camera, self._calibrated(covariance), mode, inliers, matches, keypoints,
                                 landmarks, hypothesis.keyframes, pose.coverage(keypoints, camera), rms_px,
                                 clock.seconds)  # fmt: skip
            weakness = "the inliers do not determine the pose"
        return NotLocalized(Reason.WEAK_EVIDENCE, weakness, matches, inliers, hypothesis.keyframes, clock.seconds)

    def _calibrated(self, covariance: Array) -> Array:
        """First-order covariance plus what it cannot see: correlated errors of the map, and of the map's frame."""
        floor = np.repeat([self.map.pose_sigma_m**2, self.map.pose_sigma_rad**2], 3)
        return covariance * self.config.covariance_scale + np.diag(floor)


def _looks_alike(place: Sequence[int], following: Sequence[int], likeness: dict[int, float]) -> bool:
    """Whether the next place resembles the query as much as this one usually does: it may be its double."""
    usual = float(np.median([likeness[keyframe] for keyframe in place]))
    return any(likeness[keyframe] >= usual for keyframe in following)


def with_timings(result: Localization, extra: dict[str, float]) -> Localization:
    """The same result with further stage timings added (seconds)."""
    merged = dict(result.timings_s)
    for stage, seconds in extra.items():
        merged[stage] = merged.get(stage, 0.0) + seconds
    return replace(result, timings_s=merged)
