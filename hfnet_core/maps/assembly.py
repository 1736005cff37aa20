"""From a triangulated scene and the keyframes' features to the arrays of a LandmarkMap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose
from hfnet_core.maps.descriptors import DTYPES, Stored, compact
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Features

__all__ = ["assemble_map", "covisibility", "group_by", "too_far"]

_EXACT_WITHIN_M = 1e5  # float32 rounds to a centimetre there
MIN_SHARED = 5  # landmarks that make two keyframes covisible: fewer are as often accidents


def assemble_map(
    *,
    names: Sequence[str],
    stamps_ns: Sequence[int],
    view_cameras: Sequence[int],
    poses: Sequence[Pose],
    cameras: Sequence[Camera],
    given_cameras: Sequence[Camera],
    features: Sequence[Features],
    points: NDArray[np.float64],
    rows: NDArray[np.int64],
    pose_sigma: tuple[float, float],
    model_hash: str,
    frame_id: str,
    provenance: Mapping[str, Any],
    descriptor_dtype: str = MapBuildConfig.descriptor_dtype,
    landmark_sigmas_m: NDArray[np.float64] | None = None,
) -> LandmarkMap:
    """A map of all keyframes (M, aligned sequences) and points [L, 3].

    rows: [O, 3] landmark, keyframe, keypoint of each observation; every landmark has at least one. pose_sigma: metres
    and radians, see LandmarkMap. descriptor_dtype: see MapBuildConfig. landmark_sigmas_m: [L], see LandmarkMap. Raises
    MapError where keyframes lie so far from the origin that landmarks would lose their exactness.
    """
    if (why := too_far(poses)) is not None:
        raise MapError(f"keyframes lie {why}")
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    landmarks, keyframes, keypoints = rows.T
    count, total = len(names), len(points)
    pixels = np.zeros((len(rows), 2), dtype=np.float32)
    size = features[0].descriptors.shape[1] if features else 0
    dtype = DTYPES[descriptor_dtype]
    descriptors = np.zeros((len(rows), size), dtype=dtype)
    order, offsets = group_by(keyframes, count)
    for index in range(count):
        mine = order[offsets[index] : offsets[index + 1]]
        pixels[mine] = features[index].keypoints_px[keypoints[mine]]
        descriptors[mine] = compact(features[index].descriptors[keypoints[mine]], dtype)
    covisible = covisibility(landmarks, keyframes, total, count)
    sigmas = np.zeros(0) if landmark_sigmas_m is None or not landmark_sigmas_m.any() else landmark_sigmas_m
    factors, scaled = _scaled(features, rows, total, dtype)
    return LandmarkMap(
        cameras=tuple(cameras),
        keyframe_names=tuple(names),
        keyframe_cameras=np.array(view_cameras, dtype=np.int32).reshape(count),
        keyframe_stamps_ns=np.array(stamps_ns, dtype=np.int64).reshape(count),
        keyframe_poses=np.array([pose.matrix()[:3] for pose in poses]).reshape(count, 3, 4),
        global_descriptors=np.array([item.global_descriptor for item in features], dtype=np.float32),
        landmarks_xyz=points.astype(np.float32).reshape(total, 3),
        landmark_offsets=np.concatenate([[0], np.cumsum(np.bincount(landmarks, minlength=total))]).astype(np.int64),
        observation_keyframes=keyframes.astype(np.int32),
        observation_px=pixels,
        observation_descriptors=descriptors,
        keyframe_offsets=offsets,
        keyframe_observations=order,
        covisible_offsets=covisible[0],
        covisible_keyframes=covisible[1],
        covisible_weights=covisible[2],
        model_hash=model_hash,
        frame_id=frame_id,
        provenance=provenance,
        pose_sigma_m=pose_sigma[0],
        pose_sigma_rad=pose_sigma[1],
        given_cameras=tuple(given_cameras),
        landmark_sigmas_m=sigmas.astype(np.float32),
        scale_factors=factors,
        scaled_descriptors=scaled,
    )


def too_far(poses: Sequence[Pose]) -> str | None:
    """How far from the origin poses lie, and the remedy, where landmarks there would be rounded to more than a
    centimetre; None where they would not."""
    largest = max((float(np.abs(pose.translation).max()) for pose in poses), default=0.0)
    if largest <= _EXACT_WITHIN_M:
        return None
    return (
        f"up to {largest:.0f} m from the origin, where a map rounds landmarks to {np.spacing(np.float32(largest)):.2f} "
        "m: give poses in a frame whose origin is near the place (UTM: subtract the first position; --map-frame; the "
        "place on Earth comes from fixes, --gps-topic)"
    )


def _scaled(
    features: Sequence[Features], rows: NDArray[np.int64], total: int, dtype: np.dtype[Any]
) -> tuple[NDArray[np.float32], Stored]:
    """Factors [S], and [S, L, D] the direction of the mean of what keyframes with these factors say of a landmark."""
    several = [item.scaled for item in features if item.scaled is not None]
    if not several:
        return np.zeros(0, np.float32), np.zeros((0, 0, 0), dtype)
    factors, size = several[0].factors, features[0].descriptors.shape[1]
    sums = np.zeros((len(factors), total, size), np.float32)
    order, offsets = group_by(rows[:, 1], len(features))
    for index, item in enumerate(features):
        own, scaled = rows[order[offsets[index] : offsets[index + 1]]], item.scaled
        if scaled is not None and scaled.factors == factors:
            for number in range(len(factors)):
                np.add.at(sums[number], own[:, 0], scaled.descriptors[number, own[:, 2]].astype(np.float32))
    sums /= np.maximum(np.linalg.norm(sums, axis=2, keepdims=True), 1e-6)
    stored: Stored = np.stack([compact(each, dtype) for each in sums])  # type: ignore[assignment]
    return np.array(factors, np.float32), stored


def group_by(owners: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows sorted by owner, offsets [count + 1]); rows of an owner keep their order."""
    order = np.argsort(owners, kind="stable").astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))]).astype(np.int64)
    return order, offsets


def covisibility(
    landmarks: NDArray[np.int64], keyframes: NDArray[np.int64], total: int, count: int, least: int = MIN_SHARED
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """(offsets [M + 1], neighbours, shared landmarks) of the covisibility graph, strongest neighbours first.

    landmarks, keyframes: [O] of each observation; total, count: how many there are; least: shared by neighbours.
    """
    ones = np.ones(len(landmarks), dtype=np.int32)
    seen = scipy.sparse.csr_matrix((ones, (keyframes, landmarks)), shape=(count, total))
    seen.data[:] = 1  # two keypoints of a keyframe on one landmark count once
    shared = (seen @ seen.T).tocoo()
    keep = (shared.row != shared.col) & (shared.data >= least)
    first, second, weight = shared.row[keep], shared.col[keep], shared.data[keep]
    order = np.lexsort((second, -weight, first))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(first, minlength=count))]).astype(np.int64)
    return offsets, second[order].astype(np.int32), weight[order].astype(np.int32)
