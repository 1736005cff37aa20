"""From recordings to a map: keyframes, features, pairs, matches, triangulation, bundle adjustment, map."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.assembly import assemble_map
from hfnet_core.mapping.bags import Bag, BagOptions
from hfnet_core.mapping.cameras import rays_of, refinable
from hfnet_core.mapping.keyframes import FrameSummary, select_keyframes, sharpness
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.mapping.matching import angular_epipolar_error, match_descriptors
from hfnet_core.mapping.pairs import select_pairs, sequence_pairs
from hfnet_core.mapping.reconstruction import Matches, Scene, View, observations, refine, triangulate
from hfnet_core.types import Camera, Features

__all__ = ["Describer", "Keyframe", "Progress", "build_from_keyframes", "build_map", "read_keyframes"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""

_ROUNDS = 3  # of matching against the current poses, triangulating and adjusting; a fourth changes nothing
_TIGHTER = 0.5  # of the epipolar threshold, once poses are refined
_MIN_MATCHES = 12  # of a pair of keyframes: fewer are seldom all right
_REFERENCE_WIDTH = 640  # thresholds in pixels are given for this image width
_MIN_AGREEMENT = 0.15  # of matches agree with poses of 5 cm and 1 degree; a wrong convention leaves a tenth
_MIN_TO_JUDGE = 100  # matches


class Describer(Protocol):
    """What makes features: an Extractor, or a baseline."""

    @property
    def info(self) -> Any: ...

    def extract(self, image: NDArray[Any]) -> Features: ...


@dataclass(frozen=True, eq=False)
class Keyframe:
    """A chosen image, as its features. camera: as calibrated. recording: which one it belongs to, counted from 0."""

    name: str
    stamp_ns: int
    recording: int
    camera: Camera
    map_from_camera: Pose
    features: Features


def _silent(stage: str, done: int, total: int) -> None:
    """No progress wanted."""


def build_map(
    bags: Sequence[Path], extractor: Describer, config: MapBuildConfig | None = None, options: BagOptions | None = None,
    progress: Progress = _silent,
) -> LandmarkMap:  # fmt: skip
    """A map of one or several recordings whose poses are relative to the same frame.

    The same recording in another container gives the same map, byte by byte: provenance identifies a recording by the
    content of its keyframes, never by its file name. Raises DatasetError when a recording is unusable, has no poses,
    or too little can be triangulated.
    """
    config = config or MapBuildConfig()
    keyframes: list[Keyframe] = []
    recordings = []
    frames = []
    for number, path in enumerate(bags):
        with Bag(path, options) as bag:
            bag.require_poses()
            found, summary = read_keyframes(bag, number, extractor, config, progress)
            keyframes += found
            recordings.append(summary)
            frames.append(bag.map_frame)
    if len(set(frames)) > 1:
        raise DatasetError(f"the bags' poses are in different frames ({', '.join(frames)}): pass --map-frame")
    provenance = {"recordings": recordings, "settings": dataclasses.asdict(config)}
    return build_from_keyframes(keyframes, extractor.info, config, frames[0], provenance, progress)


def read_keyframes(
    bag: Bag, number: int, extractor: Describer, config: MapBuildConfig, progress: Progress = _silent
) -> tuple[list[Keyframe], dict[str, Any]]:
    """Keyframes of a bag, and what is known of the recording. Two passes, so that images never pile up in memory."""
    summaries = []
    for frame in bag.frames():
        progress("choosing keyframes", frame.index + 1, len(bag))
        if frame.map_from_camera is not None:
            summaries.append(FrameSummary(frame.index, frame.map_from_camera, sharpness(frame.image)))
    broken = list(bag.broken)
    if not summaries:
        raise DatasetError(
            f"{bag.path}: none of {len(bag)} images has a pose at its stamp ({bag.pose_source}); do the clocks agree?"
        )
    chosen = select_keyframes(summaries, config.keyframe_distance_m, config.keyframe_angle_deg)
    keyframes: list[Keyframe] = []
    digest = hashlib.sha256()
    poses = {summaries[position].index: summaries[position].map_from_camera for position in chosen}
    for frame in bag.frames(poses):
        features = extractor.extract(frame.image)
        digest.update(np.int64(frame.stamp_ns).tobytes() + np.ascontiguousarray(frame.image).tobytes())
        name = f"{number}/{frame.index:06d}"
        keyframes.append(Keyframe(name, frame.stamp_ns, number, frame.camera, poses[frame.index], features))
        progress("extracting features", len(keyframes), len(chosen))
    summary = {
        "keyframes_sha256": digest.hexdigest(), "images": len(bag), "images_with_pose": len(summaries),
        "damaged_images": len(broken), "keyframes": len(keyframes), "image_topic": bag.image_topic.name,
        "camera": bag.camera_source, "poses": bag.pose_source, "first_stamp_ns": keyframes[0].stamp_ns,
        "last_stamp_ns": keyframes[-1].stamp_ns,
    }  # fmt: skip
    return keyframes, summary


def build_from_keyframes(
    keyframes: Sequence[Keyframe], info: Any, config: MapBuildConfig, frame_id: str, provenance: Mapping[str, Any],
    progress: Progress = _silent,
) -> LandmarkMap:  # fmt: skip
    """A map of keyframes with known poses. `info` is the ModelInfo of their features."""
    state = _State.of(keyframes, config)
    state.match(sequence_pairs([keyframe.recording for keyframe in keyframes]), progress)
    state.check_convention()
    first = state.triangulate(config.epipolar_error_px)
    state.match(state.pairs(_typical_depth(first)), progress)
    if config.refine_poses:
        for number in range(_ROUNDS):
            progress("adjusting poses", number, _ROUNDS)
            state.adjust(config.epipolar_error_px * (1.0 if number == 0 else _TIGHTER))
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

    @classmethod
    def of(cls, keyframes: Sequence[Keyframe], config: MapBuildConfig) -> _State:
        given = list(dict.fromkeys(keyframe.camera for keyframe in keyframes))
        refined = config.refine_poses and config.refine_intrinsics
        cameras = [refinable(camera) for camera in given] if refined else list(given)
        owners = [given.index(keyframe.camera) for keyframe in keyframes]
        return cls(keyframes, config, given, cameras, owners, [k.map_from_camera for k in keyframes], {})

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
        fresh = [pair for pair in pairs if pair not in self.matches]
        for done, (first, second) in enumerate(fresh, start=1):
            a, b = self.keyframes[first].features.descriptors, self.keyframes[second].features.descriptors
            self.matches[first, second] = match_descriptors(a, b, self.config.match_ratio)
            progress("matching keyframes", done, len(fresh))

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

    def adjust(self, epipolar_error_px: float) -> None:
        """Triangulate anew, then adjust twice: joining tracks in between gives the second more to hold on to."""
        scene = self.triangulate(epipolar_error_px)
        priors = [keyframe.map_from_camera for keyframe in self.keyframes]
        for _ in range(2):
            refine(scene, priors, self.config, self.scaled(self.config.max_reprojection_error_px))
        self.poses, self.cameras = scene.poses(), scene.cameras()

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
                "poses_moved_rmse_m": round(metres, 4),
                "poses_moved_rmse_deg": round(float(np.degrees(radians)), 3),
            }
        }  # fmt: skip


def _typical_depth(scene: Scene) -> float:
    """Median distance of what keyframes see; what is far away is as good a guess as any where nothing is known."""
    depths = scene.depths()
    return float(np.median(depths)) if len(depths) else _FALLBACK_DEPTH_M


_FALLBACK_DEPTH_M = 3.0
