"""The map as the localizer sees it: immutable arrays with checked invariants.

Sizes: M keyframes, L landmarks, O observations (a landmark seen as a keypoint of a keyframe), C cameras,
D and G the lengths of local and global descriptors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, are_rotations
from hfnet_core.maps.description import recording_number, recordings_of
from hfnet_core.maps.descriptors import Stored, adapted, compact, unit
from hfnet_core.types import Camera

__all__ = ["LARGEST", "OF_LANDMARKS", "LandmarkMap"]

OF_LANDMARKS = ("landmark_sigmas_m", "landmark_hits", "landmark_misses")  # told of each, or empty
_LISTS = ("observation_keyframes", "covisible_keyframes", "alike_keyframes", "scale_factors", *OF_LANDMARKS)
_CHUNK = 65536  # rows looked at or averaged at a time
LARGEST = 1e9  # metres or pixels: beyond, squares overflow


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
    observation_px: [O, 2] float32. observation_descriptors: [O, D] float16 or int8, see `descriptors.unit`.
    keyframe_offsets: [M + 1] int64. keyframe_observations: [O] int64. covisible_offsets: [M + 1] int64.
    covisible_keyframes, covisible_weights: int32.
    given_cameras: C, the calibrations that `cameras` refine, or empty where they were taken as given.
    alike_keyframes: [P] int32, sorted, and alike_poses: [P, 3, 4] float64: keyframes that another place shows as well,
    and the pose (map_from_camera) that they would have there; empty where none are known.
    landmark_sigmas_m: [L] float32, standard deviation of the distance where a depth image told it, 0 where the
    landmark was triangulated; empty without depth. Those it told may be seen once only.
    landmark_hits, landmark_misses: [L] int32, in how many visits each was found again, and was not where it should have
    been seen; empty where nobody counted.
    scale_factors: [S] float32, and scaled_descriptors: [S, L, D], stored as the observed ones: what landmarks look like
    in images resized by these factors, zero where nobody looked; empty where the map has one scale.
    model_hash: of the network that made the descriptors. frame_id: name of the map frame. pose_sigma_m, pose_sigma_rad:
    how well the refined keyframes agree with the poses they were given (root mean square per axis; 0 if nothing was
    refined): the uncertainty of the map's own frame, a floor for that of every pose in it. provenance: how it was made.
    Opening a map costs the same whatever its size: the constructor compares shapes (MapError), `check` looks at every
    value, and what is derived from the arrays is computed when it is first asked for, unless it was stored (`adopt`).
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
    observation_descriptors: Stored
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
    alike_keyframes: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    alike_poses: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3, 4)))
    landmark_sigmas_m: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    landmark_hits: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    landmark_misses: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    scale_factors: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    scaled_descriptors: Stored = field(default_factory=lambda: np.zeros((0, 0, 0), np.int8))

    def __post_init__(self) -> None:
        for name in _LISTS:
            if getattr(self, name).ndim != 1:
                raise MapError(f"map array {name} is no list: the map is damaged, rebuild it")
        m, o, n = len(self.keyframe_names), len(self.observation_keyframes), self.landmarks_xyz.shape[0]
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
        self._check_shape("alike_poses", (len(self.alike_keyframes), 3, 4))
        for name in OF_LANDMARKS:
            self._check_shape(name, (n if len(getattr(self, name)) else 0,))
        self._check_shape("landmark_misses", self.landmark_hits.shape)
        if len(self.scale_factors):
            scales = len(self.scale_factors)
            self._check_shape("scaled_descriptors", (scales, n, self.observation_descriptors.shape[-1]))

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        found = getattr(self, name).shape
        if found != shape:
            raise MapError(f"map array {name} has shape {found}, expected {shape}: the map is damaged, rebuild it")

    def _check_offsets(self, name: str, rows: int, total: int) -> None:
        self._check_shape(name, (rows + 1,))
        offsets = getattr(self, name)
        if offsets[0] != 0 or offsets[-1] != total:
            raise MapError(f"map array {name} does not partition {total} rows: the map is damaged, rebuild it")

    def check_structure(self) -> None:
        """Look at what leads from one array to another, and at poses: one pass. Raises MapError when it does not fit.

        Enough that no damaged number leads beyond an array or to a pose that is none.
        """
        for name in ("landmark_offsets", "keyframe_offsets", "covisible_offsets"):
            self._check_order(name)
        self._check_range("keyframe_cameras", len(self.cameras))
        for name in ("observation_keyframes", "covisible_keyframes"):
            self._check_range(name, self.keyframes)
        self._check_range("keyframe_observations", self.observations)
        self._check_range("covisible_weights", self.landmarks + 1)
        if "keyframe_landmarks" in self.__dict__:  # stored; what is derived from the others is in range
            self._check_range("keyframe_landmarks", self.landmarks)
        self._check_range("alike_keyframes", self.keyframes)
        for name in OF_LANDMARKS:
            self._check_counts(name)
        self._check_order("alike_keyframes")
        for name in ("keyframe_poses", "alike_poses"):
            self._check_poses(name)
        if not ((self.scale_factors > 0) & (self.scale_factors <= LARGEST)).all():
            raise MapError("map array scale_factors holds what is no factor: the map is damaged, rebuild it")

    def check(self) -> None:
        """Look at every value, a piece at a time. Raises MapError when orders or ranges do not fit."""
        self.check_structure()
        for name in ("global_descriptors", "place_descriptors", "landmarks_xyz", "observation_px"):
            for piece in _pieces(getattr(self, name)):
                if not (np.abs(piece) <= LARGEST).all():  # False for NaN
                    raise MapError(
                        f"map array {name} holds values that are no numbers or beyond {LARGEST:g}: the map "
                        "is damaged, rebuild it"
                    )

    def _check_poses(self, name: str) -> None:
        """Rotations must be rotations, and positions on this planet."""
        poses = getattr(self, name)
        if not (np.abs(poses) <= LARGEST).all():
            raise MapError(f"map array {name} holds values that are no numbers: the map is damaged, rebuild it")
        if not are_rotations(poses[:, :, :3]):
            raise MapError(f"map array {name} holds matrices that are no rotations: the map is damaged, rebuild it")

    def _check_counts(self, name: str) -> None:
        """Of landmarks: none is negative, or beyond sense."""
        if any(not ((piece >= 0) & (piece <= LARGEST)).all() for piece in _pieces(getattr(self, name))):
            raise MapError(f"map array {name} holds values that cannot be: the map is damaged, rebuild it")

    def _check_order(self, name: str) -> None:
        offsets = getattr(self, name)
        starts = range(0, len(offsets), _CHUNK)
        if any((np.diff(offsets[start : start + _CHUNK + 1]) < 0).any() for start in starts):
            raise MapError(f"map array {name} is not in order: the map is damaged, rebuild it")

    def _check_range(self, name: str, end: int) -> None:
        if any(piece.min() < 0 or piece.max() >= end for piece in _pieces(getattr(self, name))):
            raise MapError(f"map array {name} points outside of 0..{end - 1}: the map is damaged, rebuild it")

    @property
    def keyframes(self) -> int:
        """M, how many keyframes."""
        return len(self.keyframe_names)

    @property
    def made_with(self) -> str:
        """Name, version and hash of the model that described it."""
        model = self.provenance.get("model", {})
        return f"{model.get('name', '?')} {model.get('version', '')} {self.model_hash}"

    @property
    def landmarks(self) -> int:
        """L, how many landmarks."""
        return len(self.landmarks_xyz)

    @property
    def observations(self) -> int:
        """O, how many observations of landmarks by keyframes."""
        return len(self.observation_keyframes)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """[L] which landmarks are where they are by a depth image."""
        return self.landmark_sigmas_m > 0 if len(self.landmark_sigmas_m) else np.zeros(self.landmarks, dtype=bool)

    @cached_property
    def observation_landmarks(self) -> NDArray[np.int32]:
        """[O] landmark of each observation."""
        return np.repeat(np.arange(self.landmarks, dtype=np.int32), np.diff(self.landmark_offsets))

    @cached_property
    def keyframe_landmarks(self) -> NDArray[np.int32]:
        """[O] landmark of each row of keyframe_observations: what keyframe after keyframe sees."""
        return self.observation_landmarks[self.keyframe_observations]

    @cached_property
    def landmark_descriptors(self) -> Stored:
        """[L, D] direction of the mean of each landmark's observed descriptors, stored as they are."""
        dtype = self.observation_descriptors.dtype
        means = np.zeros((self.landmarks, self.observation_descriptors.shape[1]), dtype)
        for start in range(0, self.landmarks, _CHUNK):
            stop = min(start + _CHUNK, self.landmarks)
            offsets = self.landmark_offsets[start : stop + 1]
            rows = unit(self.observation_descriptors[offsets[0] : offsets[-1]])
            sums = np.add.reduceat(rows, offsets[:-1] - offsets[0], axis=0)
            sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
            means[start:stop] = compact(sums, dtype)
        return means

    @cached_property
    def place_descriptors(self) -> NDArray[np.float32]:
        """[M, G] global descriptors adapted to the map, unit length: what queries are compared with.

        See `retrieval.adapted`; the share of landmarks in common is of the keyframe with more. Raises MapError where
        the covisibility graph is damaged.
        """
        self._check_order("covisible_offsets")
        self._check_range("covisible_keyframes", self.keyframes)
        seen = np.diff(self.keyframe_offsets)
        owners = np.repeat(np.arange(self.keyframes), np.diff(self.covisible_offsets))
        most = np.maximum(np.maximum(seen[owners], seen[self.covisible_keyframes]), 1)
        table = (self.covisible_weights / most, self.covisible_keyframes, self.covisible_offsets)
        shares = scipy.sparse.csr_matrix(table, shape=(self.keyframes, self.keyframes), dtype=np.float32)
        return adapted(self.global_descriptors, shares)

    @cached_property
    def keyframe_tree(self) -> cKDTree:
        """Where the keyframes are, for nearest neighbours. Raises MapError where a pose is no number."""
        centres = self.keyframe_poses[:, :, 3]
        if not np.isfinite(centres).all():
            raise MapError("map array keyframe_poses holds values that are no numbers: the map is damaged, rebuild it")
        return cKDTree(centres)

    def adopt(self, derived: Mapping[str, NDArray[Any]]) -> None:
        """Use stored arrays (`keyframe_landmarks`, `landmark_descriptors`, `place_descriptors`) instead of deriving
        them. Raises MapError when their shapes do not fit."""
        shapes = {
            "keyframe_landmarks": (self.observations,),
            "landmark_descriptors": (self.landmarks, self.observation_descriptors.shape[-1]),
            "place_descriptors": self.global_descriptors.shape,
        }
        if any(array.shape != shapes[name] for name, array in derived.items()):
            raise MapError("what the map stores beside its observations is of another size: it is damaged, rebuild it")
        self.__dict__.update(derived)

    def observations_of(self, keyframe: int) -> NDArray[np.int64]:
        """Rows of the observation arrays that belong to a keyframe."""
        return self.keyframe_observations[self.keyframe_offsets[keyframe] : self.keyframe_offsets[keyframe + 1]]

    def landmarks_of(self, keyframe: int) -> NDArray[np.int32]:
        """Landmarks seen by a keyframe."""
        return self.keyframe_landmarks[self.keyframe_offsets[keyframe] : self.keyframe_offsets[keyframe + 1]]

    def covisible_with(self, keyframe: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Keyframes that share landmarks with this one and how many they share, most first."""
        rows = slice(self.covisible_offsets[keyframe], self.covisible_offsets[keyframe + 1])
        neighbours = self.covisible_keyframes[rows]
        if len(neighbours) and not 0 <= neighbours.min() <= neighbours.max() < self.keyframes:
            raise MapError("the map names keyframes that it does not have: it is damaged, rebuild it")
        return neighbours, self.covisible_weights[rows]

    def map_from_camera(self, keyframe: int) -> Pose:
        """The pose of a keyframe's camera."""
        return Pose.from_matrix(self.keyframe_poses[keyframe])

    def look_alikes_of(self, keyframe: int) -> list[Pose]:
        """Where other places show what surrounds a keyframe: there_from_here of each, both in the map frame."""
        first, last = np.searchsorted(self.alike_keyframes, [keyframe, keyframe + 1])
        if first == last:  # which costs every image a look
            return []
        camera_from_here = self.map_from_camera(keyframe).inverse()
        return [Pose.from_matrix(there) @ camera_from_here for there in self.alike_poses[first:last]]

    def known_cameras(self, frame: str = "") -> tuple[Camera, ...]:
        """Its cameras as they were given and as they are refined, to compare others with.

        frame: of the camera they are compared with; where the map was made with cameras in this frame, only they count.
        """
        chosen = self._cameras_in(frame) or range(len(self.cameras))
        given = [self.given_cameras[index] for index in chosen] if self.given_cameras else []
        return (*given, *(self.cameras[index] for index in chosen))

    def _cameras_in(self, frame: str) -> list[int]:
        """Cameras of the recordings whose images name a frame; none where the map does not tell."""
        frames = [told.get("camera_frame", "") for told in self.keyframe_recordings]
        if not frame or frame not in frames:
            return []
        return sorted({int(camera) for own, camera in zip(frames, self.keyframe_cameras, strict=True) if own == frame})

    @cached_property
    def keyframe_recordings(self) -> list[Mapping[str, Any]]:
        """[M] what the map tells of the recording of each keyframe; empty where it tells nothing of them."""
        known = {told["number"]: told for told in self.recordings if told["number"] >= 0}
        return [known.get(recording_number(name), {}) for name in self.keyframe_names]

    @cached_property
    def recordings(self) -> list[dict[str, Any]]:
        """What the map tells of its recordings, see `recordings_of`."""
        return recordings_of(self.keyframe_names, self.provenance)

    @property
    def next_recording(self) -> int:
        """The first number that no recording has yet, nor had before it was pruned away."""
        known = [told["number"] for told in self.recordings]
        return max([*(recording_number(name) for name in self.keyframe_names), *known], default=-1) + 1

    def calibration_for(self, camera: Camera) -> Camera:
        """What the map knows better of a camera: its refined calibration if it was built with this very one.

        A camera whose calibration a map's building has corrected makes the same errors in a query; used as given, it
        would contradict the landmarks. Any other camera is returned as it is.
        """
        for given, refined in zip(self.given_cameras, self.cameras, strict=True) if self.given_cameras else ():
            if given.is_resized(camera):
                return refined.scaled(camera.width, camera.height)
        return camera


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK))
