"""Keyframes of recordings on their way into a map: matched, freed of drift, triangulated, adjusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import pose_error
from hfnet_core.mapping.bundle import Bundle, BundleView
from hfnet_core.mapping.depth.landmarks import MeasuredView, Points, fill_up, seen_of
from hfnet_core.mapping.depth.scale import compare, report
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.mapping.pairing.pair_matching import match_pairs
from hfnet_core.mapping.pairing.pairs import select_pairs
from hfnet_core.mapping.solving.closures import LocalPoints, close_loops, closure_candidates, verify_closure
from hfnet_core.mapping.solving.odometry import Link, Odometry
from hfnet_core.mapping.solving.reconstruction import Scene, polish
from hfnet_core.maps import statistics
from hfnet_core.progress import Progress
from hfnet_core.projection import refinable
from hfnet_core.recordings.gravity import mean_up
from hfnet_core.types import Camera

__all__ = ["KeyframeBundle", "typical_depth"]

_COARSE, _COARSE_DRIFTING = (1.0,), (2.0, 1.0)  # of the thresholds in pixels, in the first rounds
_MIN_AGREEMENT = 0.15  # of matches agree with poses of 5 cm and 1 degree; a wrong convention leaves a tenth
_MIN_TO_JUDGE = 100  # matches
_FALLBACK_DEPTH_M = 3.0


class KeyframeBundle(Bundle):
    """Keyframes with their current poses and cameras, and all matches found so far.

    start: calibrations that are better than the given ones already. looseness: factor on the standard deviations of the
    keyframes' poses.
    """

    def __init__(
        self,
        keyframes: Sequence[Keyframe],
        config: MapBuildConfig,
        workspace: Workspace,
        start: Mapping[Camera, Camera],
        looseness: float = 1.0,
    ) -> None:
        self.keyframes, self.workspace = keyframes, workspace
        self.given = list(dict.fromkeys(keyframe.camera for keyframe in keyframes))
        refined = config.refine_poses and config.refine_intrinsics
        cameras = [refinable(start.get(camera, camera)) for camera in self.given] if refined else list(self.given)
        views = [
            BundleView(
                keyframe.name,
                self.given.index(keyframe.camera),
                keyframe.features,
                keyframe.map_from_camera,
                looseness,
                keyframe.ranges if config.adjust_depth else None,
            )
            for keyframe in keyframes
        ]
        super().__init__(views, cameras, config, odometry=_odometry(keyframes, config))

    def pairs(self, depth_m: float) -> list[tuple[int, int]]:
        """Keyframes that may see the same things. depth_m: typical distance of what they see."""
        return select_pairs(
            self.poses,
            self.view_cameras,
            np.array([keyframe.features.global_descriptor for keyframe in self.keyframes]),
            per_keyframe=self.config.pairs_per_keyframe,
            depth_m=depth_m,
        )

    def match(self, pairs: Sequence[tuple[int, int]], progress: Progress) -> None:
        """Match the pairs that have not been matched yet."""
        fresh = sorted(pair for pair in pairs if pair not in self.matches)
        found = match_pairs(self.keyframes, fresh, self.config.match_ratio, self.workspace)
        for done, (pair, matches) in enumerate(found, start=1):
            self.matches[pair] = matches
            progress("matching keyframes", done, len(fresh))

    @property
    def coarse(self) -> tuple[float, ...]:
        """Tolerance of the first rounds: steps of odometry can be off by more than the noise of keypoints."""
        return _COARSE if self.odometry is None else _COARSE_DRIFTING

    def close_loops(self, scene: Scene, progress: Progress) -> dict[str, Any]:
        """Where poses drift: bring together what was driven past more than once. Returns what there is to say of it.

        scene: triangulated from neighbours in time alone.
        """
        if self.odometry is None:
            return {}
        descriptors = np.array([keyframe.features.global_descriptor for keyframe in self.keyframes])
        candidates = closure_candidates(descriptors, self.odometry.recordings)
        self.match(candidates, progress)
        points = _local_points(scene)
        closures = []
        for done, (first, second) in enumerate(candidates, start=1):
            keypoints = (self.keyframes[first].features.keypoints_px, self.keyframes[second].features.keypoints_px)
            cameras = (self.view_cameras[first], self.view_cameras[second])
            found = verify_closure(self.matches[first, second], (points[first], points[second]), keypoints, cameras)
            if found is not None:
                closures.append(Link(first, second, *found))
            progress("verifying loop closures", done, len(candidates))
        self.poses, holds = close_loops(self.poses, self.odometry, closures)
        counts = {"candidates": len(candidates), "verified": len(closures), "consistent": int(holds.sum())}
        return {"loop_closures": counts}

    def finish(self, tolerance: float) -> Scene:
        """Triangulate a last time, leave out what is not within the noise, and take over poses and cameras."""
        scene = self.triangulate(tolerance)
        largest_px = self.scaled(self.config.max_reprojection_error_px)
        polish(scene, self.priors, self.config, largest_px, self.looseness, self.odometry)
        self.take(scene)
        return scene

    def check_convention(self) -> None:
        """Raises DatasetError when the given poses do not explain what the camera saw, with the likeliest causes."""
        total = sum(len(found) for found in self.matches.values())
        agreeing = sum(len(found) for found in self.verified(self.coarse[0]).values())
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
        """Root mean square per axis of how far poses moved from the given ones: metres, radians.

        Where poses drift there is nothing absolute to compare with: that of the steps between keyframes.
        """
        pairs = list(zip(self.poses, self.priors, strict=True))
        if self.odometry is not None:
            links = self.odometry.links(range(len(self.views)))
            pairs = [
                (self.poses[link.first].inverse() @ self.poses[link.second], link.first_from_second) for link in links
            ] or pairs
        moved = np.array([pose_error(a, b) for a, b in pairs])
        metres, degrees = np.sqrt(np.mean(moved**2, axis=0) / 3)
        return float(metres), float(np.radians(degrees))

    def gravity(self) -> str:
        """Whether the z axis points up, as far as the recordings tell."""
        up = mean_up(self.poses, [keyframe.up_in_camera for keyframe in self.keyframes])
        if up is None:
            return "z up if it is so in the frame of the given poses (REP-103); no accelerations to confirm it"
        tilt = float(np.degrees(np.arccos(np.clip(up[0][2], -1.0, 1.0))))
        return f"z axis of the given frame {tilt:.1f} deg from up by accelerations"

    def _measured(self) -> list[MeasuredView]:
        ranges = (keyframe.ranges for keyframe in self.keyframes)
        return [
            MeasuredView(camera, pose, view.features.keypoints_px, own)
            for camera, pose, view, own in zip(self.view_cameras, self.poses, self.views, ranges, strict=True)
        ]

    def with_depth(self, points: NDArray[np.float64], rows: NDArray[np.int64]) -> Points:
        """Triangulated points [L, 3], their observations [O, 3], and what depth images add."""
        triangulated = Points(points, rows, np.zeros(len(points)))
        return fill_up(triangulated, self._measured(), lambda: self.verified(1.0), self.config.depth_landmarks)

    def compare_depth(self, points: Points) -> dict[str, Any]:
        """What to say of the scale by depth images, beside what it is from."""
        ranges = [keyframe.ranges for keyframe in self.keyframes]
        if all(own is None for own in ranges):
            return {}
        what = "the poses" if self.odometry is None else "the odometry"
        return report(compare(seen_of(points, self._measured()), ranges), what)

    def statistics(self, points: Points, errors: NDArray[np.float64]) -> dict[str, Any]:
        """What a person wants to know of the quality of a map. errors: of the triangulated points' observations."""
        metres, radians = (sigma * np.sqrt(3) for sigma in self.pose_sigmas())
        moved = "poses" if self.odometry is None else "steps"
        return {
            **statistics.counts(len(self.keyframes), len(points.xyz), len(points.rows)),
            **({"landmarks_by_depth": by_depth} if (by_depth := int((points.sigma_m > 0).sum())) else {}),
            **statistics.reprojection(errors),
            "pairs_matched": len(self.matches),
            f"{moved}_moved_rmse_m": round(float(metres), 4),
            f"{moved}_moved_rmse_deg": round(float(np.degrees(radians)), 3),
        }


def _odometry(keyframes: Sequence[Keyframe], config: MapBuildConfig) -> Odometry | None:
    """What says which poses drift, None where none does."""
    drifting = [keyframe.drifting for keyframe in keyframes]
    if not any(drifting):
        return None
    poses = [keyframe.map_from_camera for keyframe in keyframes]
    recordings = [keyframe.recording for keyframe in keyframes]
    drives = [item.recording if item.drive is None else item.drive for item in keyframes]
    return Odometry(poses, [keyframe.stamp_ns for keyframe in keyframes], recordings, drives, drifting, config)


def _local_points(scene: Scene) -> list[LocalPoints]:
    """The points each view sees, in its camera frame."""
    tracks, poses = scene.tracks(), scene.poses()
    order = np.lexsort((tracks.keypoints, tracks.views))
    ends = np.cumsum(np.bincount(tracks.views, minlength=scene.count))
    return [
        LocalPoints(tracks.keypoints[rows], pose.inverse().apply(tracks.points[tracks.tracks[rows]]))
        for rows, pose in zip(np.split(order, ends[:-1]), poses, strict=True)
    ]


def typical_depth(scene: Scene) -> float:
    """Median distance of what keyframes see; what is far away is as good a guess as any where nothing is known."""
    depths = scene.depths()
    return float(np.median(depths)) if len(depths) else _FALLBACK_DEPTH_M
