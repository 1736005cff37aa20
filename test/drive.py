"""A synthetic drive: a box of landmarks, a camera that passes by, and perfect or noisy features of it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import Keyframe
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Camera, Features

INFO = SimpleNamespace(name="synthetic", version="0", model_hash="f" * 64)
CAMERA = Camera("OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.05, 0.02, 0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Drive:
    """points: [L, 3]. truth: poses. keyframes: as a recording gives them, with its poses and calibration."""

    points: NDArray[np.float64]
    truth: list[Pose]
    keyframes: list[Keyframe]


def perturbed(pose: Pose, metres: float, degrees: float, rng: np.random.Generator) -> Pose:
    """The pose with a random error of the given standard deviations."""
    turn = Rotation.from_rotvec(np.radians(rng.normal(0, degrees, 3))).as_matrix()
    return Pose(turn @ pose.rotation, pose.translation + rng.normal(0, metres, 3))


def drive(
    views: int = 12, landmarks: int = 300, *, noise_px: float = 0.0, noise_m: float = 0.0, noise_deg: float = 0.0,
    given: Camera = CAMERA, seed: int = 0, ahead: bool = False,
) -> Drive:  # fmt: skip
    """A camera that moves along x and turns a little, past landmarks 2 to 5 m in front of it; or straight ahead."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-3, -1.5, 2), (5, 1.5, 5), (landmarks, 3))
    descriptors = rng.normal(size=(landmarks, 32))
    truth, keyframes = [], []
    for index in range(views):
        share = index / max(views - 1, 1)
        turn = Rotation.from_euler("yx", (20 * np.sin(3 * share), 5 * share), degrees=True).as_matrix()
        pose = Pose(turn, np.array([2 * share, 0.2 * np.sin(5 * share), 0.3 * share]))
        if ahead:
            pose = Pose(translation=np.array([0.01 * np.sin(5 * share), 0.0, 1.2 * share]))
        pixels = project_in_camera(CAMERA, pose.inverse().apply(points)) + rng.normal(0, noise_px, (landmarks, 2))
        with np.errstate(invalid="ignore"):
            seen = np.flatnonzero(((pixels >= 0) & (pixels < (640, 480))).all(axis=1))
        seen = rng.permutation(seen)
        own = descriptors[seen] + rng.normal(0, 0.1, (len(seen), 32))
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        place = np.array([np.cos(share), np.sin(share)])
        features = Features(
            pixels[seen].astype(np.float32), np.linspace(1, 0.1, len(seen)).astype(np.float32), own.astype(np.float32),
            place.astype(np.float32), 640, 480,
        )  # fmt: skip
        truth.append(pose)
        noisy = perturbed(pose, noise_m, noise_deg, rng)
        keyframes.append(Keyframe(f"0/{index:06d}", index * 10**8, 0, given, noisy, features))
    return Drive(points, truth, keyframes)
