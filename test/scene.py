"""A synthetic place: points in a room, cameras that look at them, descriptors with noise. No network involved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import Correspondences, Query, between
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import project
from hfnet_core.types import Camera, Features

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5))
LOCAL_DIM, GLOBAL_DIM = 64, 48
MODEL_HASH = "f" * 64


def looking(x: float, y: float, yaw_deg: float, z: float = 1.5) -> Pose:
    """map_from_camera of a level camera at (x, y, z) that looks along yaw (z up, yaw from x towards y)."""
    forward_x = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera axes in a body frame
    return Pose(Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix() @ forward_x, np.array([x, y, z]))


@dataclass(frozen=True, eq=False)
class Scene:
    """Points on the walls of a room of 10 x 8 x 3 metres around the origin, each with its descriptor."""

    points: np.ndarray  # [N, 3]
    descriptors: np.ndarray  # [N, LOCAL_DIM]
    words: np.ndarray  # [N, GLOBAL_DIM]

    @classmethod
    def make(cls, points: int = 6000, seed: int = 0) -> Scene:
        rng = np.random.default_rng(seed)
        angle = rng.uniform(0, 2 * np.pi, points)
        radius = rng.uniform(0.85, 1.0, points)
        xyz = np.column_stack([5 * radius * np.cos(angle), 4 * radius * np.sin(angle), rng.uniform(0, 3, points)])
        descriptors = unit(rng.normal(size=(points, LOCAL_DIM)))
        return cls(xyz, descriptors, rng.normal(size=(points, GLOBAL_DIM)))

    def view(
        self,
        map_from_camera: Pose,
        seed: int = 0,
        noise_px: float = 0.5,
        outliers: float = 0.2,
        camera: Camera = CAMERA,
    ) -> tuple[Features, np.ndarray]:
        """Features as a network would see them and the point of each keypoint (-1: none)."""
        rng = np.random.default_rng(seed)
        pixels, visible = project(self.points, map_from_camera, camera)
        seen = rng.permutation(np.flatnonzero(visible & self._facing(map_from_camera)))[:800]
        extra = int(outliers * len(seen))
        keypoints = np.vstack([
            pixels[seen] + rng.normal(0, noise_px, (len(seen), 2)),
            rng.uniform(0, [camera.width - 1, camera.height - 1], (extra, 2)),
        ])  # fmt: skip
        descriptors = unit(self.descriptors[seen] + rng.normal(0, 0.05, (len(seen), LOCAL_DIM)))
        descriptors = np.vstack([descriptors, unit(rng.normal(size=(extra, LOCAL_DIM)))])
        words = unit(self.words[seen].sum(axis=0)[None])[0] if len(seen) else np.zeros(GLOBAL_DIM)
        scores = np.linspace(1.0, 0.1, len(keypoints))
        features = Features(
            keypoints.astype(np.float32), scores.astype(np.float32), descriptors.astype(np.float32),
            words.astype(np.float32), camera.width, camera.height,
        )  # fmt: skip
        return features, np.concatenate([seen, np.full(extra, -1)])

    def _facing(self, map_from_camera: Pose) -> np.ndarray:
        """[N] whose side of the room the camera is on: walls hide nothing else."""
        return np.einsum("ij,ij->i", self.points[:, :2], self.points[:, :2] - map_from_camera.translation[:2]) > 0

    def build_map(self, poses: list[Pose], min_track: int = 2) -> LandmarkMap:
        """A map of exact points, seen from `poses`."""
        views = [self.view(pose, seed=1000 + index) for index, pose in enumerate(poses)]
        rows = [
            (int(point), keyframe, row)
            for keyframe, (_, points) in enumerate(views)
            for row, point in enumerate(points)
            if point >= 0
        ]
        counts = np.bincount([row[0] for row in rows], minlength=len(self.points)) if rows else np.zeros(0, int)
        rows = sorted(row for row in rows if counts[row[0]] >= min_track)
        return assemble_map(
            rows, views_px=[features.keypoints_px for features, _ in views],
            views_descriptors=[features.descriptors for features, _ in views],
            global_descriptors=[features.global_descriptor for features, _ in views], poses=poses, points=self.points,
        )  # fmt: skip

    def build_double_map(self, poses: list[Pose], other: Scene | None = None) -> LandmarkMap:
        """Two rooms of the same shape, the second one 100 m apart and not covisible: this one again, or another."""
        return places_map([(self, Pose(), poses), (other or self, Pose(translation=np.array([100.0, 0, 0])), poses)])


def places_map(places: list[tuple[Scene, Pose, list[Pose]]]) -> LandmarkMap:
    """Several places in one map that share no landmarks: of each map_from_place, and the cameras in it."""
    views = [
        (number, place.view(pose, seed=1000 + index))
        for number, (place, _, poses) in enumerate(places)
        for index, pose in enumerate(poses)
    ]
    starts = np.cumsum([0, *(len(place.points) for place, _, _ in places)])
    rows = sorted(
        (int(starts[number] + point), keyframe, row)
        for keyframe, (number, (_, points)) in enumerate(views)
        for row, point in enumerate(points)
        if point >= 0
    )
    return assemble_map(
        rows,
        views_px=[features.keypoints_px for _, (features, _) in views],
        views_descriptors=[features.descriptors for _, (features, _) in views],
        global_descriptors=[features.global_descriptor for _, (features, _) in views],
        poses=[map_from_place @ pose for _, map_from_place, poses in places for pose in poses],
        points=np.vstack([map_from_place.apply(place.points) for place, map_from_place, _ in places]),
    )


def refurnished(scene: Scene, share: float, seed: int = 5) -> Scene:
    """The same room with `share` of the points, those at one end, looking otherwise."""
    rng = np.random.default_rng(seed)
    own = scene.points[:, 0] > np.quantile(scene.points[:, 0], 1.0 - share)
    descriptors, words = scene.descriptors.copy(), scene.words.copy()
    descriptors[own] = unit(rng.normal(size=(int(own.sum()), descriptors.shape[1])))
    words[own] = rng.normal(size=(int(own.sum()), words.shape[1]))
    return Scene(scene.points, descriptors, words)


TRUTH = looking(0.5, -0.2, 30.0)
CAMERAS = [
    CAMERA,
    Camera("OPENCV", 640, 480, (500, 505, 322, 238, -0.2, 0.05, 1e-3, -1e-3)),
    Camera("FULL_OPENCV", 640, 480, (500, 505, 322, 238, -0.2, 0.05, 1e-3, -1e-3, 0.01, 0, 0, 0)),
    Camera("OPENCV_FISHEYE", 640, 480, (300, 301, 322, 238, 0.01, -0.02, 0.005, -0.001)),
    Camera("SIMPLE_RADIAL", 640, 480, (500, 320, 240, -0.1)),
]


def cloud(count: int) -> np.ndarray:
    """Points in front of TRUTH."""
    rng = np.random.default_rng(0)
    points_camera = rng.uniform([-1.5, -1.0, 2.0], [1.5, 1.0, 6.0], (count, 3))
    return TRUTH.apply(points_camera)


def assemble_map(rows, views_px, views_descriptors, global_descriptors, poses, points) -> LandmarkMap:
    """A LandmarkMap from (point, keyframe, keypoint) rows."""
    table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
    used, landmark = np.unique(table[:, 0], return_inverse=True)
    order = np.argsort(table[:, 1], kind="stable")
    count = len(poses)
    shared = np.zeros((count, count), np.int64)
    offsets = np.searchsorted(landmark, np.arange(len(used) + 1)).astype(np.int64)
    for seen_by in np.split(table[:, 1], offsets[1:-1]):
        shared[np.ix_(seen_by, seen_by)] += 1
    np.fill_diagonal(shared, 0)
    neighbours = [sorted(np.flatnonzero(row), key=lambda k, row=row: (-row[k], k)) for row in shared]
    return LandmarkMap(
        cameras=(CAMERA,),
        keyframe_names=tuple(f"frame{index:04d}" for index in range(count)),
        keyframe_cameras=np.zeros(count, np.int32),
        keyframe_stamps_ns=np.arange(count, dtype=np.int64) * 10**8,
        keyframe_poses=np.array([pose.matrix()[:3] for pose in poses]).reshape(-1, 3, 4),
        global_descriptors=np.array(global_descriptors, np.float32).reshape(count, GLOBAL_DIM),
        landmarks_xyz=points[used].astype(np.float32).reshape(-1, 3),
        landmark_offsets=offsets,
        observation_keyframes=table[:, 1].astype(np.int32),
        observation_px=np.array([views_px[k][r] for _, k, r in table], np.float32).reshape(-1, 2),
        observation_descriptors=np.array([views_descriptors[k][r] for _, k, r in table], np.float16).reshape(
            -1, LOCAL_DIM
        ),
        keyframe_offsets=np.searchsorted(table[order, 1], np.arange(count + 1)).astype(np.int64),
        keyframe_observations=order.astype(np.int64),
        covisible_offsets=np.cumsum([0, *(len(n) for n in neighbours)]).astype(np.int64),
        covisible_keyframes=np.array([k for n in neighbours for k in n], np.int32),
        covisible_weights=np.array([shared[i][k] for i, n in enumerate(neighbours) for k in n], np.int32),
        model_hash=MODEL_HASH,
    )


def walk(count: int = 24) -> list[Pose]:
    """A loop through the room that looks around."""
    turns = np.linspace(0, 360, count, endpoint=False)
    return [looking(1.5 * np.cos(np.radians(t)), np.sin(np.radians(t)), t + 40.0) for t in turns]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def asked(pixels: np.ndarray, points: np.ndarray, camera: Camera = CAMERA) -> tuple[Correspondences, Query]:
    """Correspondences of one camera, all of them right as far as anybody knows, and the query they are of."""
    return between(pixels, points, camera)
