"""A textured wall and a camera that slides along it: every view is a crop, so images and poses are exact.

The camera is CAMERA, DISTANCE_M in front of the wall. `shift` is its way along the wall in pixels of the texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from helpers import TINY_SPEC, textured_image, tiny_model
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import save_map
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 320, 240, (260.0, 260.0, 159.5, 119.5))
DISTANCE_M = 2.0
RIG_SHIFTS = (-16, 48)  # of two cameras side by side on a base, from where it is
PIXEL_M = DISTANCE_M / CAMERA.params[0]  # of the texture
SHIFTS = (0, 32, 64, 96, 128, 160)  # multiples of the network's stride: the same features, moved
WALL_PX = (240, 640)
# The wall's frame is the camera's at shift 0; the map is z up and somewhere else.
_FORWARD_X = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MAP_FROM_WALL = Pose(Rotation.from_euler("z", 30, degrees=True).as_matrix() @ _FORWARD_X, np.array([1.0, -2.0, 1.5]))


def wall_image(seed: int = 0) -> NDArray[np.uint8]:
    """The whole texture, [H, W] gray: small patches everywhere."""
    height, width = WALL_PX
    rows = [textured_image(width // 8, height // 4, seed * 100 + index) for index in range(32)]
    return np.vstack([np.hstack(rows[8 * row : 8 * row + 8]) for row in range(4)])


_plain_wall = cache(wall_image)


def view(shift: int, wall: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The image at a shift."""
    wall = _plain_wall() if wall is None else wall
    return np.ascontiguousarray(wall[:, shift : shift + CAMERA.width])


def map_from_camera(shift: int) -> Pose:
    """Where the camera is at a shift."""
    return MAP_FROM_WALL @ Pose(translation=np.array([shift * PIXEL_M, 0.0, 0.0]))


def base_from_camera(shift: int) -> Pose:
    """Where a camera sits on a robot that looks at the wall along its x axis and slides to its right."""
    return Pose(_FORWARD_X, np.array([0.1, 0.0, 0.4])) @ Pose(translation=np.array([shift * PIXEL_M, 0.0, 0.0]))


def map_from_base(shift: int) -> Pose:
    """Where that robot is when a camera in its middle would be at a shift."""
    return map_from_camera(shift) @ base_from_camera(0).inverse()


def noise_image(seed: int = 0) -> NDArray[np.uint8]:
    """An image of no place at all."""
    return np.random.default_rng(seed).integers(0, 256, (CAMERA.height, CAMERA.width), dtype=np.uint8)


def wall_map(model: Path, seed: int = 0) -> LandmarkMap:
    """A map of the wall: one landmark for every place on it with a keypoint in at least two views."""
    backend = open_backend(model, threads=1)
    extractor = Extractor(backend, ExtractorConfig(max_keypoints=600))
    wall = wall_image(seed)
    features = [extractor.extract(view(shift, wall)) for shift in SHIFTS]
    backend.close()
    seen: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for keyframe, (shift, found) in enumerate(zip(SHIFTS, features, strict=True)):
        for keypoint, (x, y) in enumerate(found.keypoints_px):
            seen.setdefault((round(float(x)) + shift, round(float(y))), []).append((keyframe, keypoint))
    tracks = [views for views in seen.values() if len(views) >= 2]
    return _assemble(features, tracks, extractor.info.model_hash)


def _assemble(features: list, tracks: list[list[tuple[int, int]]], model_hash: str) -> LandmarkMap:
    fx, _, cx, cy = CAMERA.params
    points = []
    for views in tracks:
        pixels = np.mean([features[k].keypoints_px[i] + [SHIFTS[k], 0] for k, i in views], axis=0)
        points.append([(pixels[0] - cx) / fx * DISTANCE_M, (pixels[1] - cy) / fx * DISTANCE_M, DISTANCE_M])
    flat = [view for views in tracks for view in views]
    keyframes = np.array([k for k, _ in flat], np.int32)
    shared = np.zeros((len(SHIFTS), len(SHIFTS)), np.int32)
    for views in tracks:
        for a, _ in views:
            for b, _ in views:
                shared[a, b] += a != b
    neighbours = [[j for j in np.argsort(-row, kind="stable") if row[j]] for row in shared]
    return LandmarkMap(
        cameras=(CAMERA,),
        keyframe_names=tuple(f"view{shift}" for shift in SHIFTS),
        keyframe_cameras=np.zeros(len(SHIFTS), np.int32),
        keyframe_stamps_ns=np.arange(len(SHIFTS), dtype=np.int64),
        keyframe_poses=np.stack([map_from_camera(shift).matrix()[:3] for shift in SHIFTS]),
        global_descriptors=np.stack([found.global_descriptor for found in features]),
        landmarks_xyz=MAP_FROM_WALL.apply(np.array(points)).astype(np.float32),
        landmark_offsets=np.concatenate([[0], np.cumsum([len(views) for views in tracks])]).astype(np.int64),
        observation_keyframes=keyframes,
        observation_px=np.array([features[k].keypoints_px[i] for k, i in flat], np.float32),
        observation_descriptors=np.array([features[k].descriptors[i] for k, i in flat], np.float16),
        keyframe_offsets=np.concatenate([[0], np.cumsum(np.bincount(keyframes, minlength=len(SHIFTS)))]),
        keyframe_observations=np.argsort(keyframes, kind="stable").astype(np.int64),
        covisible_offsets=np.concatenate([[0], np.cumsum([len(n) for n in neighbours])]).astype(np.int64),
        covisible_keyframes=np.array([j for n in neighbours for j in n], np.int32),
        covisible_weights=np.array([row[j] for row, n in zip(shared, neighbours, strict=True) for j in n], np.int32),
        model_hash=model_hash,
    )  # fmt: skip


def doubled(once: LandmarkMap, apart_m: float) -> LandmarkMap:
    """The map twice: a copy along x, which shares nothing with the original and comes after it."""
    poses, points = np.array(once.keyframe_poses), np.array(once.landmarks_xyz)
    poses[:, 0, 3] += apart_m
    points[:, 0] += apart_m

    def twice(name: str, step: int = 0) -> np.ndarray:
        values = getattr(once, name)
        return np.concatenate([values, values + np.array(step, values.dtype)])

    def offsets(name: str) -> np.ndarray:
        values = getattr(once, name)
        return np.concatenate([values, values[1:] + values[-1]])

    return replace(
        once,
        keyframe_names=(*once.keyframe_names, *(f"copy/{name}" for name in once.keyframe_names)),
        keyframe_cameras=twice("keyframe_cameras"),
        keyframe_stamps_ns=twice("keyframe_stamps_ns"),
        keyframe_poses=np.concatenate([once.keyframe_poses, poses]),
        global_descriptors=twice("global_descriptors"),
        landmarks_xyz=np.concatenate([once.landmarks_xyz, points]),
        landmark_offsets=offsets("landmark_offsets"),
        observation_keyframes=twice("observation_keyframes", once.keyframes),
        observation_px=twice("observation_px"),
        observation_descriptors=twice("observation_descriptors"),
        keyframe_offsets=offsets("keyframe_offsets"),
        keyframe_observations=twice("keyframe_observations", once.observations),
        covisible_offsets=offsets("covisible_offsets"),
        covisible_keyframes=twice("covisible_keyframes", once.keyframes),
        covisible_weights=twice("covisible_weights"),
    )


def wall_files(folder: Path) -> tuple[Path, Path]:
    """(model, map) written into a folder."""
    model = tiny_model(folder, spec=TINY_SPEC)
    path = folder / "wall.hfmap"
    save_map(wall_map(model), path)
    return model, path


def wall_bag(path: Path, shifts: Sequence[int | None], storage: str = "mcap", rate_hz: float = 10.0) -> list[int]:
    """A recording of raw images at shifts (None: an image of no place), calibration and poses. Returns the stamps."""
    stamps = [1_700_000_000 * 10**9 + round(index * 1e9 / rate_hz) for index in range(len(shifts))]
    wall = wall_image()
    with open_writer(path, storage) as writer:
        for stamp_ns, shift in zip(stamps, shifts, strict=True):
            writer.camera_info(stamp_ns, CAMERA)
            writer.image(stamp_ns, noise_image() if shift is None else view(shift, wall))
            writer.pose(stamp_ns, map_from_camera(shift or 0))
    return stamps
