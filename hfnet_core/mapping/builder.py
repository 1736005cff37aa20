"""From recordings to a map: keyframes, features, pairs, matches, triangulation, bundle adjustment, map."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.assembly import assemble_map
from hfnet_core.mapping.bags import Bag, BagOptions
from hfnet_core.mapping.cameras import rays_of, refinable
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.mapping.matching import angular_epipolar_error, match_descriptors
from hfnet_core.mapping.pairs import select_pairs, sequence_pairs
from hfnet_core.mapping.reconstruction import Matches, Scene, View, observations, refine, triangulate
from hfnet_core.mapping.recording import Describer, Keyframe, Progress, read_keyframes, silent
from hfnet_core.mapping.workplace import Workplace, key_of
from hfnet_core.types import Camera

__all__ = ["Describer", "Keyframe", "Progress", "build_from_keyframes", "build_map", "read_keyframes"]

_ROUNDS = 5  # at most, of matching against the current poses, triangulating and adjusting
_SETTLED = 0.05  # of the trusted deviation: poses that move less in a round need no other
_TIGHTER = 0.5  # of the epipolar threshold, once poses are refined
_MIN_MATCHES = 12  # of a pair of keyframes: fewer are seldom all right
_REFERENCE_WIDTH = 640  # thresholds in pixels are given for this image width
_MIN_AGREEMENT = 0.15  # of matches agree with poses of 5 cm and 1 degree; a wrong convention leaves a tenth
_MIN_TO_JUDGE = 100  # matches


def build_map(
    bags: Sequence[Path], extractor: Describer, config: MapBuildConfig | None = None, options: BagOptions | None = None,
    progress: Progress = silent, workplace: Workplace | None = None,
) -> LandmarkMap:  # fmt: skip
    """A map of one or several recordings whose poses are relative to the same frame.

    The same recording in another container gives the same map, byte by byte: provenance identifies a recording by the
    content of its keyframes, never by its file name. workplace: keeps features and matches in case the build is killed.
    Raises DatasetError when a recording is unusable, has no poses,
    or too little can be triangulated.
    """
    config = config or MapBuildConfig()
    keyframes: list[Keyframe] = []
    recordings = []
    frames = []
    for number, path in enumerate(bags):
        with Bag(path, options) as bag:
            bag.require_poses()
            found, summary = read_keyframes(bag, number, extractor, config, progress, workplace)
            keyframes += found
            recordings.append(summary)
            frames.append(bag.map_frame)
    if len(set(frames)) > 1:
        raise DatasetError(f"the bags' poses are in different frames ({', '.join(frames)}): pass --map-frame")
    provenance = {"recordings": recordings, "settings": dataclasses.asdict(config)}
    return build_from_keyframes(keyframes, extractor.info, config, frames[0], provenance, progress, workplace)


def build_from_keyframes(
    keyframes: Sequence[Keyframe], info: Any, config: MapBuildConfig, frame_id: str, provenance: Mapping[str, Any],
    progress: Progress = silent, workplace: Workplace | None = None,
) -> LandmarkMap:  # fmt: skip
    """A map of keyframes with known poses. `info` is the ModelInfo of their features."""
    state = _State.of(keyframes, config, workplace or Workplace())
    state.match(sequence_pairs([keyframe.recording for keyframe in keyframes]), progress)
    state.check_convention()
    first = state.triangulate(config.epipolar_error_px)
    state.match(state.pairs(_typical_depth(first)), progress)
    if config.refine_poses:
        for number in range(_ROUNDS):
            progress("adjusting poses", number, _ROUNDS)
            moved = state.adjust(config.epipolar_error_px * (1.0 if number == 0 else _TIGHTER))
            if moved < _SETTLED * config.pose_prior_sigma_m:
                break
        progress("adjusting poses", _ROUNDS, _ROUNDS)
        scene = state.triangulate(config.epipolar_error_px * _TIGHTER)
    else:
        scene = state.triangulate(config.epipolar_error_px)
    points, rows, errors = observations(scene, config, state.scaled(config.max_reprojection_error_px))
    state.check_landmarks(len(points))
    statistics = state.statistics(points, rows, errors)
    sigmas = state.pose_sigmas()
    return assemble_map(
        names=[keyframe.name for keyframe in keyframes], stamps_ns=[keyframe.stamp_ns for keyframe in keyframes],
        view_cameras=state.view_cameras, poses=state.poses, cameras=state.cameras, given_cameras=state.given,
        features=[keyframe.features for keyframe in keyframes], points=points, rows=rows, pose_sigma=sigmas,
        model_hash=info.model_hash, frame_id=frame_id,
        provenance={**provenance, **statistics, "model": {"name": info.name, "version": info.version}},
    )  # fmt: skip


@dataclass(eq=False)
class _State:
    """Keyframes with their current poses and cameras, and all matches found so far."""

    keyframes: Sequence[Keyframe]
    config: MapBuildConfig
    given: list[Camera]
    cameras: list[Camera]
    view_cameras: list[int]
    poses: list[Pose]
    matches: dict[tuple[int, int], NDArray[np.int32]]
    workplace: Workplace

    @classmethod
    def of(cls, keyframes: Sequence[Keyframe], config: MapBuildConfig, workplace: Workplace) -> _State:
        given = list(dict.fromkeys(keyframe.camera for keyframe in keyframes))
        refined = config.refine_poses and config.refine_intrinsics
        cameras = [refinable(camera) for camera in given] if refined else list(given)
        owners = [given.index(keyframe.camera) for keyframe in keyframes]
        return cls(keyframes, config, given, cameras, owners, [k.map_from_camera for k in keyframes], {}, workplace)

    def scaled(self, pixels: float) -> float:
        """A threshold given for the reference width, for the widest image here."""
        return pixels * max(camera.width for camera in self.cameras) / _REFERENCE_WIDTH

    def pairs(self, depth_m: float) -> list[tuple[int, int]]:
        return select_pairs(
            self.poses, [self.cameras[index] for index in self.view_cameras],
            np.array([keyframe.features.global_descriptor for keyframe in self.keyframes]),
            per_keyframe=self.config.pairs_per_keyframe, depth_m=depth_m,
        )  # fmt: skip

    def match(self, pairs: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Match the pairs that have not been matched yet."""
        fresh = sorted(pair for pair in pairs if pair not in self.matches)
        done = 0
        for first, group in itertools.groupby(fresh, key=lambda pair: pair[0]):
            others = [second for _, second in group]
            found = self._matches_of(first, others)
            self.matches.update({(first, second): item for second, item in zip(others, found, strict=True)})
            done += len(others)
            progress("matching keyframes", done, len(fresh))

    def _matches_of(self, first: int, others: Sequence[int]) -> list[NDArray[np.int32]]:
        """Matches of a keyframe with several others, remembered in the workplace."""
        names = [self.keyframes[index].key for index in (first, *others)]
        key = key_of(self.config.match_ratio, *names)
        found = self.workplace.load_matches(key) if all(names) else None
        if found is None:
            own = self.keyframes[first].features.descriptors
            found = [
                match_descriptors(own, self.keyframes[other].features.descriptors, self.config.match_ratio)
                for other in others
            ]
            if all(names):
                self.workplace.store_matches(key, found)
        return found

    def verified(self, max_error_px: float) -> Matches:
        """The matches that agree with the current poses."""
        rays = [rays_of(self.cameras[owner], keyframe.features.keypoints_px)
                for owner, keyframe in zip(self.view_cameras, self.keyframes, strict=True)]  # fmt: skip
        out = {}
        for (first, second), found in self.matches.items():
            focal = min(min(self.cameras[self.view_cameras[index]].focal_length) for index in (first, second))
            relative = self.poses[second].inverse() @ self.poses[first]
            error = angular_epipolar_error(rays[first][found[:, 0]], rays[second][found[:, 1]], relative)
            agreeing = found[error < self.scaled(max_error_px) / focal]
            if len(agreeing) >= _MIN_MATCHES:
                out[first, second] = agreeing
        return out

    def triangulate(self, epipolar_error_px: float) -> Scene:
        views = [
            View(keyframe.name, owner, keyframe.features.keypoints_px, pose)
            for keyframe, owner, pose in zip(self.keyframes, self.view_cameras, self.poses, strict=True)
        ]
        limit = self.scaled(self.config.max_reprojection_error_px)
        return triangulate(views, self.cameras, self.verified(epipolar_error_px), self.config, limit)

    def adjust(self, epipolar_error_px: float) -> float:
        """Triangulate anew and adjust. Returns how far the poses moved, root mean square, metres."""
        scene = self.triangulate(epipolar_error_px)
        priors = [keyframe.map_from_camera for keyframe in self.keyframes]
        refine(scene, priors, self.config, self.scaled(self.config.max_reprojection_error_px))
        before, self.poses, self.cameras = self.poses, scene.poses(), scene.cameras()
        moved = [pose_error(new, old)[0] for new, old in zip(self.poses, before, strict=True)]
        return float(np.sqrt(np.mean(np.square(moved))))

    def check_convention(self) -> None:
        """Raises DatasetError when the given poses do not explain what the camera saw, with the likeliest causes."""
        total = sum(len(found) for found in self.matches.values())
        agreeing = sum(len(found) for found in self.verified(self.config.epipolar_error_px).values())
        if total >= _MIN_TO_JUDGE and agreeing < _MIN_AGREEMENT * total:
            raise DatasetError(
                f"only {agreeing} of {total} matches between successive keyframes agree with the given poses: are they "
                "of the camera's optical frame (x right, y down, z forward; see --pose-frame, --base-from-camera), on "
                "the clock of the images, and is the calibration right?"
            )

    def check_landmarks(self, count: int) -> None:
        """Raises DatasetError where there is nothing to localize in."""
        if not count:
            total = sum(len(found) for found in self.matches.values())
            raise DatasetError(
                f"no landmark could be triangulated from {len(self.keyframes)} keyframes and {total} matches: does the "
                "camera move, and see the same things from several places?"
            )

    def pose_sigmas(self) -> tuple[float, float]:
        """Root mean square per axis of how far poses moved from the given ones: metres, radians."""
        given = [keyframe.map_from_camera for keyframe in self.keyframes]
        moved = np.array([pose_error(a, b) for a, b in zip(self.poses, given, strict=True)])
        metres, degrees = np.sqrt(np.mean(moved**2, axis=0) / 3)
        return float(metres), float(np.radians(degrees))

    def statistics(
        self, points: NDArray[np.float64], rows: NDArray[np.int64], errors: NDArray[np.float64]
    ) -> dict[str, Any]:
        """What a person wants to know of the quality of a map."""
        metres, radians = (sigma * np.sqrt(3) for sigma in self.pose_sigmas())
        return {
            "statistics": {
                "keyframes": len(self.keyframes), "landmarks": len(points), "observations": len(rows),
                "pairs_matched": len(self.matches),
                "mean_track_length": round(len(rows) / max(len(points), 1), 3),
                "reprojection_rmse_px": round(float(np.sqrt(np.mean(errors**2))), 4) if len(errors) else None,
                "poses_moved_rmse_m": round(float(metres), 4),
                "poses_moved_rmse_deg": round(float(np.degrees(radians)), 3),
            }
        }  # fmt: skip


def _typical_depth(scene: Scene) -> float:
    """Median distance of what keyframes see; what is far away is as good a guess as any where nothing is known."""
    depths = scene.depths()
    return float(np.median(depths)) if len(depths) else _FALLBACK_DEPTH_M


_FALLBACK_DEPTH_M = 3.0
