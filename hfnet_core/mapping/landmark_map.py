"""The map as the localizer sees it: immutable arrays with checked invariants.

Sizes: M keyframes, L landmarks, O observations (a landmark seen as a keypoint of a keyframe), C cameras,
D and G the lengths of local and global descriptors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["LandmarkMap"]

_CHUNK = 65536  # landmarks averaged at a time


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """Landmarks, what they look like, and from where they were seen.

    Observations are sorted by landmark: landmark l owns rows landmark_offsets[l]:landmark_offsets[l + 1] of every
    `observation_` array. Keyframe k's rows are keyframe_observations[keyframe_offsets[k]:keyframe_offsets[k + 1]].
    Covisibility is a symmetric graph in the same compressed form, its neighbours by weight (shared landmarks),
    strongest first.

    cameras: C calibrated cameras. keyframe_names: M. keyframe_cameras: [M] int32. keyframe_stamps_ns: [M] int64,
    -1 if unknown. keyframe_poses: [M, 3, 4] float64, map_from_camera. global_descriptors: [M, G] float32, unit length.
    landmarks_xyz: [L, 3] float32, metres, map frame. landmark_offsets: [L + 1] int64. observation_keyframes: [O] int32.
    observation_px: [O, 2] float32. observation_descriptors: [O, D] float16, unit length.
    keyframe_offsets: [M + 1] int64. keyframe_observations: [O] int64. covisible_offsets: [M + 1] int64.
    covisible_keyframes, covisible_weights: int32.
    given_cameras: C, the calibrations that `cameras` refine, or empty where they were taken as given.
    model_hash: of the network that made the descriptors. frame_id: name of the map frame. pose_sigma_m, pose_sigma_rad:
    how well the refined keyframes agree with the poses they were given (root mean square per axis; 0 if nothing was
    refined): the uncertainty of the map's own frame, a floor for that of every pose in it. provenance: how it was made.
    Raises MapError when sizes, ranges or orders do not fit.
    """

    cameras: tuple[Camera, ...]
    keyframe_names: tuple[str, ...]
    keyframe_cameras: NDArray[np.int32]
    keyframe_stamps_ns: NDArray[np.int64]
    keyframe_poses: NDArray[np.float64]
    global_descriptors: NDArray[np.float32]
    landmarks_xyz: NDArray[np.float32]
    landmark_offsets: NDArray[np.int64]
    observation_keyframes: NDArray[np.int32]
    observation_px: NDArray[np.float32]
    observation_descriptors: NDArray[np.float16]
    keyframe_offsets: NDArray[np.int64]
    keyframe_observations: NDArray[np.int64]
    covisible_offsets: NDArray[np.int64]
    covisible_keyframes: NDArray[np.int32]
    covisible_weights: NDArray[np.int32]
    model_hash: str
    frame_id: str = "map"
    pose_sigma_m: float = 0.0
    pose_sigma_rad: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    given_cameras: tuple[Camera, ...] = ()

    def __post_init__(self) -> None:
        m, o, n = len(self.keyframe_names), len(self.observation_keyframes), len(self.landmarks_xyz)
        if self.given_cameras and len(self.given_cameras) != len(self.cameras):
            raise MapError(f"the map has {len(self.cameras)} cameras but {len(self.given_cameras)} given calibrations")
        self._check_shape("keyframe_cameras", (m,))
        self._check_shape("keyframe_stamps_ns", (m,))
        self._check_shape("keyframe_poses", (m, 3, 4))
        self._check_shape("global_descriptors", (m, self.global_descriptors.shape[-1]))
        self._check_shape("landmarks_xyz", (n, 3))
        self._check_shape("observation_px", (o, 2))
        self._check_shape("observation_descriptors", (o, self.observation_descriptors.shape[-1]))
        self._check_shape("keyframe_observations", (o,))
        self._check_offsets("landmark_offsets", n, o)
        self._check_offsets("keyframe_offsets", m, o)
        self._check_offsets("covisible_offsets", m, len(self.covisible_keyframes))
        self._check_shape("covisible_weights", self.covisible_keyframes.shape)

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        found = getattr(self, name).shape
        if found != shape:
            raise MapError(f"map array {name} has shape {found}, expected {shape}: the map is damaged, rebuild it")

    def _check_offsets(self, name: str, rows: int, total: int) -> None:
        self._check_shape(name, (rows + 1,))
        offsets = getattr(self, name)
        if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
            raise MapError(f"map array {name} does not partition {total} rows: the map is damaged, rebuild it")

    @property
    def keyframes(self) -> int:
        return len(self.keyframe_names)

    @property
    def landmarks(self) -> int:
        return len(self.landmarks_xyz)

    @property
    def observations(self) -> int:
        return len(self.observation_keyframes)

    @cached_property
    def observation_landmarks(self) -> NDArray[np.int32]:
        """[O] landmark of each observation."""
        return np.repeat(np.arange(self.landmarks, dtype=np.int32), np.diff(self.landmark_offsets))

    @cached_property
    def landmark_descriptors(self) -> NDArray[np.float16]:
        """[L, D] mean of each landmark's observed descriptors, scaled to unit length."""
        means = np.zeros((self.landmarks, self.observation_descriptors.shape[1]), np.float16)
        for start in range(0, self.landmarks, _CHUNK):
            stop = min(start + _CHUNK, self.landmarks)
            offsets = self.landmark_offsets[start : stop + 1]
            rows = self.observation_descriptors[offsets[0] : offsets[-1]].astype(np.float32)
            sums = np.add.reduceat(rows, offsets[:-1] - offsets[0], axis=0)
            means[start:stop] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
        return means

    def observations_of(self, keyframe: int) -> NDArray[np.int64]:
        """Rows of the observation arrays that belong to a keyframe."""
        return self.keyframe_observations[self.keyframe_offsets[keyframe] : self.keyframe_offsets[keyframe + 1]]

    def landmarks_of(self, keyframe: int) -> NDArray[np.int32]:
        """Landmarks seen by a keyframe."""
        return self.observation_landmarks[self.observations_of(keyframe)]

    def covisible_with(self, keyframe: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Keyframes that share landmarks with this one and how many they share, most first."""
        rows = slice(self.covisible_offsets[keyframe], self.covisible_offsets[keyframe + 1])
        return self.covisible_keyframes[rows], self.covisible_weights[rows]

    def map_from_camera(self, keyframe: int) -> Pose:
        return Pose.from_matrix(self.keyframe_poses[keyframe])

    def calibration_for(self, camera: Camera) -> Camera:
        """What the map knows better of a camera: its refined calibration if it was built with this very one.

        A camera whose calibration a map's building has corrected makes the same errors in a query; used as given, it
        would contradict the landmarks. Any other camera is returned as it is.
        """
        for given, refined in zip(self.given_cameras, self.cameras, strict=True) if self.given_cameras else ():
            if given.model == camera.model and np.allclose(
                given.scaled(camera.width, camera.height).params, camera.params, rtol=1e-6, atol=1e-6
            ):
                return refined.scaled(camera.width, camera.height)
        return camera
