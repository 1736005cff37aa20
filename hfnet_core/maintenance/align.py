"""A map in another frame: by a given transform, by known positions of keyframes, or level on the floor."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.extras import later
from hfnet_core.files import read_text
from hfnet_core.geometry import Array, Pose, Similarity, pose_error
from hfnet_core.georeference.datum import KEY, Georeference
from hfnet_core.maps.landmark_map import LARGEST, LandmarkMap
from hfnet_core.maps.moving import transformed
from hfnet_core.recordings.gravity import level
from hfnet_core.recordings.tum import read_tum, stamp_ns

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = [
    "Fit",
    "Known",
    "estimate_similarity",
    "fit_positions",
    "floor_alignment",
    "moved_map",
    "read_positions",
    "rigid_from_poses",
]

_MAX_COORDINATE_M = 8000.0  # beyond, float32 landmarks are rounded to more than half a millimetre
_MIN_POSITIONS = 4  # three always fit
_LEVER_M = 3.0  # a localization is wrong by centimetres, and by as many thirds of a hundredth of a radian
_MAX_TURN_DEG = 10.0  # orientations further off are of another frame than the camera's
_COLLINEAR = 0.02  # of the extent along a line: less across it leaves the turn about the line open
_STAMP_TOLERANCE_NS = 1_000_000
_TRIALS = 500
_FLOOR_TILT_DEG = 30.0  # between the floor's normal and what most cameras call up
_BELOW = 0.02  # of the landmarks may lie below a floor
_MIN_FLOOR = 0.03  # of the landmarks lie on it
_FEWEST = 30  # and at least so many
_DENSER = 2.0  # times as many as in a layer as thick just above: else it is the lower end of a cloud


@dataclass(frozen=True, eq=False)
class Fit:
    """Positions known in the new frame, and how the aligned keyframes fit them.

    used: how many were matched with keyframes. inliers: within the allowed error. rmse_m: of those. turned_deg: how far
    their orientations, where known, are from those of the aligned keyframes (median); oriented: whether they were used.
    """

    new_from_old: Similarity
    used: int
    inliers: int
    rmse_m: float
    turned_deg: float | None = None
    oriented: bool = False


def moved_map(landmark_map: LandmarkMap, new_from_old: Similarity, frame_id: str | None = None) -> LandmarkMap:
    """The map in a new frame, named frame_id; nothing else changes, its place on Earth included.

    Raises ConfigError when coordinates become so large that landmarks would lose their precision.
    """
    places = landmark_map.landmarks_xyz, landmark_map.keyframe_poses[:, :, 3]
    largest = max(float(np.abs(new_from_old.apply(xyz)).max(initial=0.0)) for xyz in places)
    if largest > _MAX_COORDINATE_M:
        raise ConfigError(
            f"coordinates of up to {largest:.0f} m would round landmarks to millimetres and more: choose an origin "
            f"within {_MAX_COORDINATE_M:.0f} m"
        )
    place = Georeference.of(landmark_map.provenance)
    known = {} if place is None else {KEY: place.moved(new_from_old).as_dict()}
    return replace(
        transformed(landmark_map, new_from_old),
        provenance={**landmark_map.provenance, **known},
        frame_id=landmark_map.frame_id if frame_id is None else frame_id,
    )


def estimate_similarity(old: Array, new: Array, max_error_m: float, *, scaled: bool) -> Similarity | None:
    """The similarity, or with scaled=False the rigid transform, that most pairs of points [N, 3] agree on; or None.

    pycolmap's LO-RANSAC over Umeyama's closed form (IEEE PAMI 13(4), 1991).
    """
    if len(old) < 3:
        return None
    options = pycolmap.RANSACOptions(max_error=max_error_m, random_seed=0, min_inlier_ratio=0.01, confidence=0.9999)
    options.min_num_trials = _TRIALS
    if scaled:
        found = pycolmap.estimate_sim3d_robust(old, new, options)
    else:
        found = pycolmap.estimate_rigid3d_robust(old, new, options)
    if found is None:
        return None
    matrix = np.asarray(found["tgt_from_src"].matrix())
    scale = float(np.cbrt(np.linalg.det(matrix[:, :3])))
    return Similarity(scale, Pose(matrix[:, :3] / scale, matrix[:, 3]))


@dataclass(frozen=True, eq=False)
class Known:
    """Where a keyframe is in the wished frame.

    name: of the keyframe; stamp_ns: if none is called so, the one with this stamp. position: [3] metres. rotation:
    [3, 3] new_from_camera, None where unknown.
    """

    name: str
    stamp_ns: int | None
    position: Array
    rotation: Array | None = None


def read_positions(path: Path) -> list[Known]:
    """Known positions from a CSV or TUM file.

    CSV: `keyframe,x,y,z` with a name or a stamp in seconds, a heading line allowed. TUM: `stamp x y z qx qy qz qw
    [name]` of the camera. Raises DatasetError naming file and line.
    """
    if path.suffix.lower() != ".csv":
        return [Known(row.name, row.stamp_ns, row.pose.translation, row.pose.rotation) for row in read_tum(path)]
    try:
        lines = list(csv.reader(read_text(path, "positions").splitlines()))
    except csv.Error as error:
        raise DatasetError(f"{path}: positions cannot be read ({error})") from error
    out: list[Known] = []
    for number, fields in enumerate(lines, start=1):
        if not any(field.strip() for field in fields) or fields[0].lstrip().startswith("#"):
            continue
        try:
            position = np.array([float(field) for field in fields[1:]])
        except ValueError as error:
            if number == 1:
                continue  # a heading
            raise DatasetError(f"{path}, line {number}: {error}; write keyframe,x,y,z") from error
        if position.shape != (3,) or not (np.abs(position) <= LARGEST).all():
            raise DatasetError(f"{path}, line {number}: is not keyframe,x,y,z")
        name = fields[0].strip()
        out.append(Known(name, _stamp_ns(name), position))
    if not out:
        raise DatasetError(f"{path}: contains no positions")
    return out


def fit_positions(landmark_map: LandmarkMap, known: Sequence[Known], max_error_m: float, *, scaled: bool) -> Fit:
    """The transform that brings keyframes to where they are known to be; wrong positions are outvoted.

    Where orientations are known and agree with it, they make it more precise. Raises MapError when fewer than four
    positions fit keyframes or agree, or all lie on a line and there are no orientations.
    """
    matched = _match_keyframes(landmark_map, known)
    if len(matched) < _MIN_POSITIONS:
        raise MapError(
            f"{len(matched)} of {len(known)} positions belong to keyframes of the map, need {_MIN_POSITIONS}: name "
            f"keyframes as in the map ({', '.join(landmark_map.keyframe_names[:2])}, ...) or by stamps in seconds"
        )
    poses = [landmark_map.map_from_camera(keyframe) for keyframe, _ in matched]
    pairs = [(pose, item) for pose, (_, item) in zip(poses, matched, strict=True)]
    old, new = np.array([pose.translation for pose in poses]), np.array([item.position for _, item in matched])
    spread = np.linalg.svd(old - old.mean(axis=0), compute_uv=False)
    if spread[1] < _COLLINEAR * spread[0]:
        scale = _length_ratio(old, new) if scaled else 1.0
        found, turned_deg = _with_orientations(pairs, scale, max_error_m)
        if found is None or turned_deg is None or turned_deg > _MAX_TURN_DEG:
            raise MapError("the positions lie on a line, which leaves the turn about it open: add some beside it")
    else:
        found = estimate_similarity(old, new, max_error_m, scaled=scaled)
    errors = np.linalg.norm(found.apply(old) - new, axis=1) if found is not None else np.full(len(old), np.inf)
    fits = errors <= max_error_m
    if found is None or fits.sum() < max(_MIN_POSITIONS, 0.5 * len(matched)):
        hint = "" if scaled else ", or pass --scale if the map is not metric"
        raise MapError(
            f"only {int(fits.sum())} of {len(matched)} positions agree on one transform within {max_error_m:g} m: "
            f"check them, allow more with --max-error-m{hint}"
        )
    refined, turned_deg = _with_orientations([pairs[index] for index in np.flatnonzero(fits)], found.scale, max_error_m)
    oriented = refined is not None and turned_deg is not None and turned_deg <= _MAX_TURN_DEG
    answer = refined if oriented and refined is not None else found
    rest = np.linalg.norm(answer.apply(old[fits]) - new[fits], axis=1)
    rmse_m = float(np.sqrt(np.mean(rest**2)))
    return Fit(answer, len(matched), int(fits.sum()), rmse_m, turned_deg, oriented)


def _length_ratio(old: Array, new: Array) -> float:
    """Median ratio of distances between the same points, half of them apart."""
    half = len(old) // 2
    before, after = (np.linalg.norm(points[half : 2 * half] - points[:half], axis=1) for points in (old, new))
    return float(np.median(after / np.maximum(before, 1e-9)))


def _with_orientations(
    inliers: Sequence[tuple[Pose, Known]], scale: float, max_error_m: float
) -> tuple[Similarity | None, float | None]:
    """The transform from positions and orientations, and how far these are apart after it, in degrees, the median."""
    pairs = [
        (Pose(pose.rotation, scale * pose.translation), Pose(item.rotation, item.position))
        for pose, item in inliers
        if item.rotation is not None
    ]
    if len(pairs) < _MIN_POSITIONS:
        return None, None
    found = rigid_from_poses([old for old, _ in pairs], [new for _, new in pairs], 3 * max_error_m)
    if found is None:
        return None, None
    turned = [pose_error(found @ old, new)[1] for old, new in pairs]
    return Similarity(scale, found), float(np.median(turned))


def rigid_from_poses(old: Sequence[Pose], new: Sequence[Pose], max_error_m: float) -> Pose | None:
    """new_from_old that most pairs of poses agree on, or None.

    Each pose counts with its centre and with points along its axes, as far away as errors of its position and its
    orientation weigh the same; so even poses along one line determine the rotation.
    """
    arms = np.vstack([np.zeros(3), _LEVER_M * np.eye(3)])
    source, target = (np.concatenate([np.zeros((0, 3)), *(pose.apply(arms) for pose in poses)]) for poses in (old, new))
    found = estimate_similarity(source, target, max_error_m, scaled=False)
    return None if found is None else found.pose


def _stamp_ns(text: str) -> int | None:
    try:
        return stamp_ns(text)
    except (ValueError, OverflowError):
        return None


def _match_keyframes(landmark_map: LandmarkMap, known: Sequence[Known]) -> list[tuple[int, Known]]:
    names = {name: index for index, name in enumerate(landmark_map.keyframe_names)}
    stamps = np.asarray(landmark_map.keyframe_stamps_ns)
    order = np.argsort(stamps, kind="stable")
    out = []
    for item in known:
        index = names.get(item.name)
        if index is None and item.stamp_ns is not None and item.stamp_ns >= 0:  # -1 says that there is none
            at = np.searchsorted(stamps[order], item.stamp_ns - _STAMP_TOLERANCE_NS)
            if at < len(order) and abs(int(stamps[order[at]]) - item.stamp_ns) <= _STAMP_TOLERANCE_NS:
                index = int(order[at])
        if index is not None:
            out.append((index, item))
    return out


def floor_alignment(landmark_map: LandmarkMap, max_error_m: float) -> Similarity:
    """Puts the floor at z = 0 and up along z; heading and horizontal origin stay.

    The floor is the plane with most landmarks (within max_error_m) that has next to none below it, fewer just above
    it, and whose normal is within 30 degrees of up as most cameras see it. Raises MapError where there is none.
    """
    xyz = np.asarray(landmark_map.landmarks_xyz, dtype=np.float64)
    up = -landmark_map.keyframe_poses[:, :, 1].mean(axis=0)  # a camera's y axis points down
    length = float(np.linalg.norm(up))
    best = _floor(xyz, up / length, max_error_m) if length > 0.3 and len(xyz) >= 3 else None
    if best is None:
        raise MapError(
            "no floor was found in the map (a plane dense with landmarks and none below): align it with --transform or "
            "--positions"
        )
    normal, height = best
    return Similarity(1.0, Pose(level(normal).rotation, np.array([0.0, 0.0, -height])))


def _floor(xyz: Array, up: Array, max_error_m: float) -> tuple[Array, float] | None:
    """Unit normal and height along it of the best floor."""
    rng = np.random.default_rng(0)
    best, most = None, max(_MIN_FLOOR * len(xyz), _FEWEST)
    low = np.argsort(xyz @ up, kind="stable")[: max(len(xyz) // 2, 3)]  # candidates come from the lower half
    for _ in range(4 * _TRIALS):
        a, b, c = xyz[rng.choice(low, 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-9:
            continue
        normal = normal / length * np.sign(normal @ up or 1.0)
        if normal @ up < np.cos(np.radians(_FLOOR_TILT_DEG)):
            continue
        heights = (xyz - a) @ normal
        on = int((np.abs(heights) <= max_error_m).sum())
        above = int((np.abs(heights - 3 * max_error_m) <= max_error_m).sum())
        if on > most and on > _DENSER * above and (heights < -3 * max_error_m).mean() <= _BELOW:
            best, most = (normal, a), on
    if best is None:
        return None
    normal, point = best
    for _ in range(3):  # least squares on what lies on it
        on_plane = xyz[np.abs((xyz - point) @ normal) <= max_error_m]
        point = on_plane.mean(axis=0)
        refined = np.linalg.svd(on_plane - point, full_matrices=False)[2][2]
        normal = refined * np.sign(refined @ normal)
    return normal, float(point @ normal)
