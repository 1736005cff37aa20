"""What every feature that comes from outside must be, asked once where it enters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.types import Features, Float32

__all__ = ["MOST_KEYPOINTS", "Entered", "RawFeatures", "check_whole", "checked_features", "global_of"]

MOST_KEYPOINTS = 1_000_000  # of an image; beyond that somebody exported every pixel
_LONGEST_DESCRIPTOR = 65_536
_OUTSIDE_PX = 2.0  # keypoints in half precision lie off by up to a pixel
_LARGEST_SIDE = 1e6  # pixels
_SHORTEST = 1e-6  # length of a descriptor that still has a direction


@dataclass(frozen=True, eq=False)
class RawFeatures:
    """Arrays as a file or a network gives them, of any numeric type.

    keypoints: [K, 2] in pixels of the original image, (0, 0) at the centre of the top-left one. scores: [K], None where
    there are none. descriptors: [K, D]. global_descriptor: [G], None where there is none.
    """

    keypoints: NDArray[Any]
    scores: NDArray[Any] | None
    descriptors: NDArray[Any]
    global_descriptor: NDArray[Any] | None


class Entered(NamedTuple):
    """Features, strongest first, for each of them its number in the arrays that they came from, [K], and how many
    keypoints these have."""

    features: Features
    order: NDArray[np.int64]
    stored: int


def checked_features(raw: RawFeatures, size: tuple[int, int], where: str, most: int = MOST_KEYPOINTS) -> Entered:
    """The `most` strongest of them as Features of an image of (width, height); descriptors brought to unit length.

    where: names file and image. Raises DatasetError where shapes do not fit each other, numbers are not finite, or
    keypoints lie outside of the image; descriptors without a direction are left out with their keypoints.
    """
    keypoints, descriptors = (
        _numbers(raw.keypoints, "keypoints", where),
        _numbers(raw.descriptors, "descriptors", where),
    )
    count = len(keypoints)
    if keypoints.ndim != 2 or keypoints.shape[1] != 2 or descriptors.ndim != 2 or len(descriptors) != count:
        raise DatasetError(
            f"{where}: keypoints {list(keypoints.shape)} and descriptors {list(descriptors.shape)} do not fit each "
            "other; [K, 2] and one descriptor for each of them are wanted"
        )
    scores = np.ones(count, np.float32) if raw.scores is None else _numbers(raw.scores, "scores", where).reshape(-1)
    if len(scores) != count or count > MOST_KEYPOINTS or not 1 <= descriptors.shape[1] <= _LONGEST_DESCRIPTOR:
        raise DatasetError(
            f"{where}: has {count} keypoints, {len(scores)} scores and descriptors of {descriptors.shape[1]} numbers; "
            f"up to {MOST_KEYPOINTS} keypoints with a score each and up to {_LONGEST_DESCRIPTOR} numbers are read"
        )
    limit = np.array(size, np.float32) - 1 + _OUTSIDE_PX
    if count and not ((keypoints >= -_OUTSIDE_PX) & (keypoints <= limit)).all():
        raise DatasetError(
            f"{where}: keypoints reach from {keypoints.min(axis=0).tolist()} to {keypoints.max(axis=0).tolist()}, "
            f"outside of its image of {size[0]}x{size[1]}: are they of another size?"
        )
    lengths = np.linalg.norm(descriptors, axis=1)
    strongest = np.argsort(-scores, kind="stable")
    order = strongest[lengths[strongest] > _SHORTEST][:most]
    unit: Float32 = descriptors[order] / lengths[order, None]
    found = Features(keypoints[order], scores[order], unit, global_of(raw.global_descriptor, where), *size)
    return Entered(found, order.astype(np.int64), count)


def check_whole(features: Features, where: str) -> None:
    """Of features that we have stored ourselves, and somebody may have changed. Raises DatasetError."""
    count, dim = len(features), features.descriptors.shape[-1] if features.descriptors.ndim == 2 else 0
    wanted = {"keypoints_px": (count, 2), "scores": (count,), "descriptors": (count, dim)}
    arrays = {name: getattr(features, name) for name in (*wanted, "global_descriptor")}
    fits = all(arrays[name].shape == shape for name, shape in wanted.items()) and features.global_descriptor.ndim == 1
    fits = fits and all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
    fits = fits and count <= MOST_KEYPOINTS and dim <= _LONGEST_DESCRIPTOR
    size = np.array([features.width, features.height], np.float64)
    fits = fits and bool((size >= 1).all() and (size <= _LARGEST_SIDE).all())
    limit = size - 1 + _OUTSIDE_PX
    if not fits or not ((features.keypoints_px >= -_OUTSIDE_PX) & (features.keypoints_px <= limit)).all():
        raise DatasetError(f"{where}: features do not fit each other or their image of {size[0]:g}x{size[1]:g}")
    scaled = features.scaled
    if scaled is not None:
        factors = np.array(scaled.factors)
        good = bool((factors > 0).all() and np.isfinite(factors).all() and np.isfinite(scaled.descriptors).all())
        if not good or scaled.descriptors.shape != (len(factors), count, dim) or scaled.descriptors.dtype != np.float16:
            raise DatasetError(f"{where}: descriptors at other scales do not fit the features")


def global_of(values: NDArray[Any] | None, where: str) -> Float32:
    """A unit global descriptor [G], empty for None. Raises DatasetError for one that is none."""
    if values is None:
        return np.zeros(0, np.float32)
    descriptor = _numbers(values, "the global descriptor", where).reshape(-1)
    length = float(np.linalg.norm(descriptor))
    if not 1 <= len(descriptor) <= _LONGEST_DESCRIPTOR or length < _SHORTEST:
        raise DatasetError(f"{where}: its global descriptor has {len(descriptor)} numbers and length {length:g}")
    return np.asarray(descriptor / length, np.float32)


def _numbers(values: NDArray[Any], name: str, where: str) -> Float32:
    if values.dtype.kind not in "fiu":
        raise DatasetError(f"{where}: {name} are of type {values.dtype}, no numbers")
    numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DatasetError(f"{where}: {name} hold NaN or infinite numbers; make the file again")
    return numbers
