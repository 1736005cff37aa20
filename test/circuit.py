"""A synthetic drive around a ring of landmarks, once or several times, with the features a camera would have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from drive import CAMERA, Drive
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import Keyframe
from hfnet_core.projection import project_in_camera
from hfnet_core.synthetic.odometry import drifted
from hfnet_core.types import Features

_STEP_M = 0.25
_WALL_M = 3.0  # from the path to the wall
_WORDS = 48
_FORWARD_X = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera axes in a body frame, z up


def circuit(
    views: int, *, laps: float = 1.5, keypoints: int = 120, dim: int = 32, noise_px: float = 0.5, seed: int = 0,
) -> Drive:  # fmt: skip
    """`views` keyframes a quarter of a metre apart on a circle, looking at the wall around it, with exact poses.

    keypoints: landmarks in a view, about. A ring is as long as the drive divided by the laps.
    """
    rng = np.random.default_rng(seed)
    length = views * _STEP_M / laps
    radius = length / (2 * np.pi)
    points = _wall(radius + _WALL_M, keypoints, rng)
    descriptors, words = _unit(rng.normal(size=(len(points), dim))), rng.normal(size=(len(points), _WORDS))
    tree = cKDTree(points)
    truth, keyframes = [], []
    for index in range(views):
        angle = index * _STEP_M / radius
        yaw = angle + 0.4 * np.sin(0.7 * index)  # outwards, looking about
        turn = Rotation.from_euler("z", yaw).as_matrix() @ _FORWARD_X
        sway = 0.3 * np.sin(0.31 * index)
        pose = Pose(turn, np.array([(radius + sway) * np.cos(angle), (radius + sway) * np.sin(angle), 1.5]))
        near = np.array(sorted(tree.query_ball_point(pose.translation, 2.5 * _WALL_M)), dtype=np.int64)
        features = _seen(pose, points[near], descriptors[near], words[near], noise_px, rng)
        truth.append(pose)
        keyframes.append(Keyframe(f"0/{index:06d}", index * 10**8, 0, CAMERA, pose, features))
    return Drive(points, truth, keyframes)


def with_drift(scene: Drive, *, ratio: float = 0.01, deg_per_m: float = 0.5, seed: int = 0) -> Drive:
    """The same drive with odometry for poses."""
    poses = drifted(scene.truth, ratio=ratio, deg_per_m=deg_per_m, seed=seed)
    moved = [replace(k, map_from_camera=pose, drifting=True) for k, pose in zip(scene.keyframes, poses, strict=True)]
    return Drive(scene.points, scene.truth, moved)


def aligned_error(poses: list[Pose], truth: list[Pose]) -> float:
    """Root mean square distance in metres after the best rotation and translation (Kabsch)."""
    centres = (np.array([pose.translation for pose in path]) for path in (poses, truth))
    a, b = (values - values.mean(axis=0) for values in centres)
    rotation, _ = Rotation.align_vectors(b, a)
    return float(np.sqrt(((rotation.apply(a) - b) ** 2).sum(axis=1).mean()))


def _wall(radius: float, keypoints: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Points 0 to 1 m before a round wall 3 m high, as dense as views want them."""
    seen_m = 2 * _WALL_M * 320 / 500  # of the wall, by one view
    count = round(keypoints / seen_m * 2 * np.pi * radius * 1.2)
    angle, depth = rng.uniform(0, 2 * np.pi, count), radius - rng.uniform(0, 1, count)
    return np.column_stack([depth * np.cos(angle), depth * np.sin(angle), rng.uniform(0, 3, count)])


def _seen(
    pose: Pose, points: NDArray[np.float64], descriptors: NDArray[np.float64], words: NDArray[np.float64],
    noise_px: float, rng: np.random.Generator,
) -> Features:  # fmt: skip
    pixels = project_in_camera(CAMERA, pose.inverse().apply(points)) + rng.normal(0, noise_px, (len(points), 2))
    with np.errstate(invalid="ignore"):
        seen = rng.permutation(np.flatnonzero(((pixels >= 0) & (pixels < (640, 480))).all(axis=1)))
    own = _unit(descriptors[seen] + rng.normal(0, 0.05, (len(seen), descriptors.shape[1])))
    return Features(
        pixels[seen].astype(np.float32), np.linspace(1, 0.1, len(seen)).astype(np.float32), own.astype(np.float32),
        _unit(words[seen].sum(axis=0)[None])[0].astype(np.float32), CAMERA.width, CAMERA.height,
    )  # fmt: skip


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
