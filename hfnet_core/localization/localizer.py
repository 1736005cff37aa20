"""Hierarchical localization of one image: retrieval, covisibility, matching, pose, refinement, judgement.

Source: Sarlin et al., CVPR 2019, section 3 and its supplementary material; refinement by a second, guided matching pass
and the judgement of a pose are ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization import covisibility, focal, matching, pose
from hfnet_core.localization.matching import Matches
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features, Float32, Int32, Localization, Localized, Mode, NotLocalized, Reason

__all__ = ["Localizer", "Query", "Stopwatch", "calibrated", "weakness", "with_timings"]

SAME_PLACE_M, SAME_PLACE_DEG = 0.5, 10.0  # poses closer than this are the same answer
GUIDED_RADIUS_PX = 12.0  # second matching pass around a solved pose
_GUIDED_RATIO = 0.95
NEAR_ROUNDS, WELL_WITHIN = 3, 0.5  # searches around a prior; share of their radius that inliers may have moved
OVERWHELMING = 2.0  # times what acceptance needs
_FIRST_LOOK, _FIRST_LANDMARKS = 4, 600  # keyframes of a place, and landmarks of them, looked at before all of it


class Stopwatch:
    """Seconds by stage: each lap counts for the stage it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._started
        self._started = now


@dataclass(frozen=True, eq=False)
class Query:
    """The image asked about, and the time spent on it."""

    features: Features
    camera: Camera
    clock: Stopwatch = field(default_factory=Stopwatch)

    def check(self, landmark_map: LandmarkMap) -> None:
        """Raises ConfigError where image and calibration or the features among themselves do not fit, MapError where
        the features are of another model than the map's."""
        features, camera = self.features, self.camera
        if (features.width, features.height) != (camera.width, camera.height):
            raise ConfigError(
                f"the image is {features.width}x{features.height}, but its camera {camera.width}x{camera.height}: "
                "give the calibration of this image size"
            )
        count, size = len(features), landmark_map.observation_descriptors.shape[1]
        if features.keypoints_px.shape != (count, 2) or features.descriptors.shape[:-1] != (count,):
            raise ConfigError(f"keypoints {features.keypoints_px.shape} and descriptors {features.descriptors.shape} "
                              "are not of one image")  # fmt: skip
        if count and landmark_map.landmarks and features.descriptors.shape[1] != size:
            raise MapError(f"the query's descriptors have {features.descriptors.shape[1]} values, the map's {size}: "
                           "use the model that made the map")  # fmt: skip
        parts = (features.keypoints_px, features.descriptors, features.global_descriptor)
        if not all(np.isfinite(part).all() for part in parts):
            raise ConfigError("the features of the image are not finite numbers: is the model damaged?")


@dataclass(frozen=True, eq=False)
class _Hypothesis:
    """A solved pose with its correspondences, and the correspondences that speak for it.

    The evidence was matched without knowing this pose; `matches` may have been guided by it and only make it precise.
    """

    mode: Mode
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
        self._retriever = Retriever(landmark_map.place_descriptors)
        self._descriptors = landmark_map.landmark_descriptors

    def localize(self, features: Features, camera: Camera, prior: Pose | None = None) -> Localization:
        """The pose of an image, or the reason why there is none.

        prior: expected map_from_camera; with it only landmarks near their expected place are matched and no other
        place is considered. Without it the whole map is searched. Raises ConfigError if features and camera differ in
        size or something is not finite, MapError if the descriptors are of another model.
        """
        query = Query(features, self.map.calibration_for(camera))
        refusal = self._refuse_input(query)
        if refusal is not None:
            return refusal
        found = self._search_map(query) if prior is None else self._search_near(query, prior)
        if isinstance(found, NotLocalized):
            return found
        refined = self._refine(query, found)
        return self._judge(query, refined)

    def _refuse_input(self, query: Query) -> NotLocalized | None:
        query.check(self.map)
        if self.map.landmarks == 0 or self.map.keyframes == 0:
            return NotLocalized(Reason.EMPTY_MAP)
        if len(query.features) < self.config.min_inliers:
            return NotLocalized(Reason.TOO_FEW_KEYPOINTS, f"{len(query.features)}, need {self.config.min_inliers}")
        return None

    def _search_map(self, query: Query) -> _Hypothesis | NotLocalized:
        """The place of the map with the most evidence, if no other place has nearly as much."""
        hypotheses: list[_Hypothesis] = []
        most_matches = 0
        for place, has_double in self._places(query):
            matches = self._match_place(query, place)
            most_matches = max(most_matches, len(matches))
            query.clock.lap("matching")
            hypothesis = self._solve(query, matches, place, Mode.GLOBAL)
            query.clock.lap("pose")
            if hypothesis is None:
                continue
            hypotheses.append(hypothesis)
            if not has_double and self._weakness(query, hypothesis, OVERWHELMING) is None:
                break
        if not hypotheses:
            reason = Reason.NO_CONSENSUS if most_matches >= self.config.min_inliers else Reason.TOO_FEW_MATCHES
            return NotLocalized(reason, f"{most_matches} matches", most_matches, timings_s=query.clock.seconds)
        best, *others = sorted(hypotheses, key=lambda hypothesis: -hypothesis.inliers)
        rival = self._rival(best, others)
        if rival is not None and self._weakness(query, best) is None:
            detail = f"{best.inliers} and {rival.inliers} inliers"
            return _refused(query, Reason.AMBIGUOUS, detail, best)
        return best

    def _search_near(self, query: Query, prior: Pose) -> _Hypothesis | NotLocalized:
        """A pose near the prior.

        Where it explains the image only at the edge of the search windows, these may have cut off what contradicts it:
        then once more around the pose found, until both agree.
        """
        if not prior.is_finite():
            raise ConfigError("the expected pose is not finite")
        count = 0
        for _ in range(NEAR_ROUNDS):
            keyframes = covisibility.nearby_keyframes(self.map, prior, self.config.cluster_size)
            matches = self._match_near(query, prior, keyframes, self.config.tracking_radius_px)
            count = len(matches)
            query.clock.lap("matching")
            hypothesis = self._solve(query, matches, keyframes, Mode.TRACKING)
            query.clock.lap("pose")
            if hypothesis is None:
                break
            if self._moved_px(query, hypothesis, prior) <= WELL_WITHIN * self.config.tracking_radius_px:
                return hypothesis
            prior = hypothesis.solution.map_from_camera
        reason = Reason.TOO_FEW_MATCHES if count < self.config.min_inliers else Reason.NO_CONSENSUS
        return NotLocalized(reason, f"{count} matches near the prior", count, timings_s=query.clock.seconds)

    def _moved_px(self, query: Query, hypothesis: _Hypothesis, prior: Pose) -> float:
        """How far the image shows the inliers from where the prior expected them, median at 640 px width."""
        rows = hypothesis.solution.inliers
        landmarks = hypothesis.matches.landmarks[rows]
        expected, visible = projection.project(self.map.landmarks_xyz[landmarks], prior, query.camera)
        shown = query.features.keypoints_px[hypothesis.matches.keypoints[rows]]
        if not visible.any():
            return float("inf")
        moved = np.linalg.norm(expected[visible] - shown[visible], axis=1)
        return float(np.median(moved)) / projection.pixel_scale(query.camera)

    def _places(self, query: Query) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Keyframes to look at together, and whether another place resembles the query as much: perhaps a double."""
        config = self.config
        found, similarity = self._retriever.query(query.features.global_descriptor, config.retrieved)
        query.clock.lap("retrieval")
        likeness = {int(keyframe): float(value) for keyframe, value in zip(found, similarity, strict=True)}
        places = covisibility.cluster(self.map, list(likeness), list(likeness.values()))
        query.clock.lap("covisibility")
        for index, place in enumerate(places[: config.max_clusters]):
            usual = float(np.median([likeness[keyframe] for keyframe in place]))
            following = places[index + 1] if index + 1 < len(places) else ()
            has_double = any(likeness[keyframe] >= usual for keyframe in following)
            if len(place) > _FIRST_LOOK:  # the most similar ones usually suffice, and cost less
                yield place[:_FIRST_LOOK], has_double
            yield covisibility.grow(self.map, place, config.cluster_size), has_double

    def _match_place(self, query: Query, keyframes: Sequence[int]) -> Matches:
        """Matches to the landmarks of keyframes; of a few keyframes only to those that are seen most often."""
        landmarks = covisibility.landmarks_seen_by(self.map, keyframes)
        if len(keyframes) <= _FIRST_LOOK:
            landmarks = landmarks[self._seen_most(landmarks, _FIRST_LANDMARKS)]
        descriptors = unit(self._descriptors[landmarks])
        return matching.match_all(query.features.descriptors, descriptors, landmarks, self.config.ratio, mutual=False)

    def _match_near(self, query: Query, map_from_camera: Pose, keyframes: Sequence[int], radius_px: float) -> Matches:
        landmarks = covisibility.landmarks_seen_by(self.map, keyframes)
        projections, visible = projection.project(self.map.landmarks_xyz[landmarks], map_from_camera, query.camera)
        landmarks, projections = landmarks[visible], projections[visible]
        often = self._seen_most(landmarks, self.config.guided_landmarks)
        landmarks, projections = landmarks[often], projections[often]
        descriptors = unit(self._descriptors[landmarks])
        features, radius_px = query.features, radius_px * projection.pixel_scale(query.camera)
        return matching.match_guided(
            features.keypoints_px, features.descriptors, projections, descriptors, landmarks, radius_px, _GUIDED_RATIO
        )

    def _seen_most(self, landmarks: Int32, count: int) -> NDArray[np.int64]:
        """Rows of the `count` landmarks that are seen most often, in order: these are found most easily."""
        if len(landmarks) <= count:
            return np.arange(len(landmarks))
        seen = self.map.landmark_offsets[landmarks + 1] - self.map.landmark_offsets[landmarks]
        return np.sort(np.argsort(-seen, kind="stable")[:count])

    def _solve(self, query: Query, matches: Matches, keyframes: tuple[int, ...], mode: Mode) -> _Hypothesis | None:
        keypoints = query.features.keypoints_px[matches.keypoints]
        solution = pose.solve(keypoints, self.map.landmarks_xyz[matches.landmarks], query.camera, self.config)
        if solution is None:
            return None
        evidence = keypoints[solution.inliers & matches.unguided]
        return _Hypothesis(mode, solution, matches, keyframes, evidence, int(matches.unguided.sum()))

    def _refine(self, query: Query, first: _Hypothesis) -> _Hypothesis:
        """Match once more, guided by the pose, among the landmarks of its neighbourhood; keep what explains more.

        A pose found near a prior was matched that way already, and is only polished. Evidence must hold both ways: the
        first pass asked for the landmarks that keypoints resemble most, this one for the keypoints that landmarks do.
        """
        if first.mode is Mode.TRACKING:
            return self._polish(query, first, first.matches)
        found = first.solution.map_from_camera
        near = covisibility.nearby_keyframes(self.map, found, self.config.cluster_size)
        keyframes = tuple(dict.fromkeys(first.keyframes + near))
        refined = self._polish(query, first, self._match_near(query, found, keyframes, GUIDED_RADIUS_PX))
        if refined.solution.count < first.solution.count:
            return self._polish(query, first, first.matches)
        mutual = refined.matches.keypoints[refined.solution.inliers & refined.matches.unguided]
        evidence_px = query.features.keypoints_px[mutual] if len(mutual) < first.inliers else first.evidence_px
        return replace(refined, keyframes=keyframes, evidence_px=evidence_px)

    def _polish(self, query: Query, first: _Hypothesis, matches: Matches) -> _Hypothesis:
        """The hypothesis at the minimum of the reprojection errors of `matches`, or as it was where there is none."""
        keypoints, points = query.features.keypoints_px[matches.keypoints], self.map.landmarks_xyz[matches.landmarks]
        solution = pose.polish(keypoints, points, query.camera, first.solution.map_from_camera, self.config)
        query.clock.lap("refinement")
        return first if solution is None else replace(first, solution=solution, matches=matches)

    def _rival(self, best: _Hypothesis, others: Sequence[_Hypothesis]) -> _Hypothesis | None:
        """Another hypothesis at another place with nearly as many inliers."""
        for other in others:
            metres, degrees = pose_error(best.solution.map_from_camera, other.solution.map_from_camera)
            elsewhere = metres > SAME_PLACE_M or degrees > SAME_PLACE_DEG
            if elsewhere and other.inliers >= self.config.ambiguity_ratio * best.inliers:
                return other
        return None

    def _weakness(self, query: Query, hypothesis: _Hypothesis, factor: float = 1.0) -> str | None:
        """What is missing for acceptance (with a factor above 1: for overwhelming evidence), or None."""
        covered = pose.coverage(hypothesis.evidence_px, query.camera)
        return weakness(self.config, hypothesis.inliers, hypothesis.evidence_matches, covered, factor)

    def _judge(self, query: Query, hypothesis: _Hypothesis) -> Localization:
        weakness = self._weakness(query, hypothesis)
        if weakness is not None:
            return _refused(query, Reason.WEAK_EVIDENCE, weakness, hypothesis)
        chosen = hypothesis.solution.inliers
        keypoints = query.features.keypoints_px[hypothesis.matches.keypoints[chosen]]
        landmarks = hypothesis.matches.landmarks[chosen]
        map_from_camera = hypothesis.solution.map_from_camera
        points = self.map.landmarks_xyz[landmarks]
        linear = pose.linearised(keypoints, points, map_from_camera, query.camera)
        covariance, rms_px = pose.covariance_of(linear.jacobian, linear.residuals, linear.cells)
        if not np.isfinite(covariance).all():
            detail = "the inliers do not determine the pose"
            return _refused(query, Reason.WEAK_EVIDENCE, detail, hypothesis)
        fit = focal.focal_fit(linear, query.camera, pose.CAUCHY_PX * projection.pixel_scale(query.camera))
        if fit is not None:  # a wrong focal length moves the pose without a trace in the residuals
            moved = focal.off_by(fit[0]) * fit[1]
            covariance = covariance + np.outer(moved, moved)
        query.clock.lap("covariance")
        return Localized(
            map_from_camera=map_from_camera,
            covariance=calibrated(covariance, self.map),
            mode=hypothesis.mode,
            inliers=hypothesis.inliers,
            matches=hypothesis.evidence_matches,
            keypoints_px=keypoints,
            landmarks=landmarks,
            keyframes=hypothesis.keyframes,
            coverage=pose.coverage(keypoints, query.camera),
            reprojection_px=rms_px,
            timings_s=query.clock.seconds,
            unused_px=query.features.keypoints_px[hypothesis.matches.keypoints[~chosen]],
            focal=None if fit is None else fit[0],
        )


def weakness(config: LocalizerConfig, inliers: int, matches: int, covered: float, factor: float = 1.0) -> str | None:
    """What evidence lacks for acceptance (with a factor above 1: for being overwhelming), or None.

    matches: found without knowing the pose; inliers: those of them that agree with it; covered: their share of the
    image's cells.
    """
    ratio = inliers / max(matches, 1)
    if inliers < factor * config.min_inliers:
        return f"{inliers} inliers, need {config.min_inliers}"
    if ratio < min(factor * config.min_inlier_ratio, 0.9):
        return f"inlier ratio {ratio:.2f}, need {config.min_inlier_ratio:.2f}"
    if covered < min(factor * config.min_coverage, 0.9):
        return f"inliers cover {covered:.2f} of the image, need {config.min_coverage:.2f}"
    return None


def calibrated(covariance: Array, landmark_map: LandmarkMap) -> Array:
    """Covariance of a pose among the landmarks plus what these cannot show: errors of the map's frame."""
    floor = np.repeat([landmark_map.pose_sigma_m**2, landmark_map.pose_sigma_rad**2], 3)
    return covariance + np.diag(floor)


def with_timings(result: Localization, extra_s: Mapping[str, float]) -> Localization:
    """The same result with further stage timings (seconds) added."""
    merged = dict(result.timings_s)
    for stage, seconds in extra_s.items():
        merged[stage] = merged.get(stage, 0.0) + seconds
    return replace(result, timings_s=merged)


def _refused(query: Query, reason: Reason, detail: str, best: _Hypothesis) -> NotLocalized:
    matched = query.features.keypoints_px[best.matches.keypoints]
    return NotLocalized(
        reason, detail, best.evidence_matches, best.inliers, best.keyframes, query.clock.seconds, unused_px=matched
    )
