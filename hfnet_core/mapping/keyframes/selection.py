"""Choosing keyframes of a drive: by motion and rotation, preferring sharp images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.keyframes.image_motion import ImageMotion
from hfnet_core.recordings.bags import Bag

__all__ = ["FrameSummary", "blurred", "select_keyframes", "sharpness"]

_SHARPNESS_WIDTH = 320  # blur that matters shows at this size, noise of the sensor does not
_WINDOW = 15  # neighbours on each side that an image's sharpness is compared with
_SOFT = 0.5  # of the median sharpness around: below it, an image counts as blurred
_FAST_DEG, _FASTER = 1.0, 2.0  # a turn from one image to the next that counts as fast, and times the median around
_PATIENCE = 2.0  # a poor image is taken after all when the motion grows to this many steps


@dataclass(frozen=True, eq=False)
class FrameSummary:
    """What the choice needs of a frame: its index in the recording, map_from_camera, and its sharpness."""

    index: int
    map_from_camera: Pose
    sharpness: float


def sharpness(image: NDArray[Any]) -> float:
    """Variance of the Laplacian of the reduced gray image relative to its brightness; compare within a scene only."""
    gray = image if image.ndim == 2 else image[:, :, 1]  # green: no conversion needed to compare neighbours
    height, width = gray.shape
    scale = min(1.0, _SHARPNESS_WIDTH / width)
    small = cv2.resize(
        gray, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    values = small.astype(np.float32)
    return float(cv2.Laplacian(values, cv2.CV_32F).var() / max(float(values.mean()), 1e-3) ** 2)


def select_keyframes(frames: Sequence[FrameSummary], distance_m: float, angle_deg: float) -> list[int]:
    """Positions in `frames` of the keyframes, increasing; the first usable frame always is one.

    A keyframe follows when the camera has moved distance_m or turned angle_deg since the last one. Among frames that
    qualify, one that is much blurrier than its neighbourhood, or taken while the camera turned much faster, which
    bends images of rolling shutters, is passed over for a following one, until the motion has doubled.
    """
    if not frames:
        return []
    poor = blurred(np.array([frame.sharpness for frame in frames])) | _hasty(frames)
    chosen: list[int] = []
    for position, frame in enumerate(frames):
        if not chosen:
            steps = float("inf") if position >= _WINDOW else 1.0
        else:
            moved, turned = pose_error(frames[chosen[-1]].map_from_camera, frame.map_from_camera)
            steps = max(_ratio(moved, distance_m), _ratio(turned, angle_deg))
        if steps >= _PATIENCE or (steps >= 1.0 and not poor[position]):
            chosen.append(position)
    return chosen or [0]


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit > 0 else float("inf")


def blurred(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which images are much less sharp than the median of those around them."""
    return np.asarray(values < _SOFT * _typical(values))


def _hasty(frames: Sequence[FrameSummary]) -> NDArray[np.bool_]:
    """Which images were taken in a turn that is fast, and much faster than usual around them."""
    steps = [pose_error(a.map_from_camera, b.map_from_camera)[1] for a, b in pairwise(frames)]
    turns = np.array([0.0, *steps, 0.0])
    rate = np.maximum(turns[:-1], turns[1:])  # of the steps before and after an image, the faster
    return np.asarray((rate > _FAST_DEG) & (rate > _FASTER * _typical(rate)))


def _typical(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each value and those around it; of all of them where there are few."""
    if len(values) <= _WINDOW:
        return np.full(len(values), np.median(values) if len(values) else 0.0)
    padded = np.pad(values, _WINDOW, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _WINDOW + 1)
    return np.asarray(np.median(windows, axis=1))


AT_ONCE_NS = 5_000_000  # images of cameras that are triggered together differ by less


_PATIENCE = 2.0  # a blurred image is taken after all when the motion has grown to this many steps


_FEW = 60  # images: thinned less, as there is little to save


_STILL = 0.3  # steps, among few images: nearly the same view again


_FILM = 0.5  # of the images follow from the one before: a film, not a collection of photos


def choose_by_motion(
    bag: Bag, motion: float, named: Collection[int], progress: Callable[[str, int, int], None]
) -> list[int]:
    """Indices of the images of a bag that become keyframes, increasing; the first usable one and `named` always do.

    A keyframe follows when the image has moved by the share `motion` of its width since the last one, or nothing that
    was seen then can be followed any more. Of few images all are taken that differ somewhat. In a film, blurred images
    are passed over; of photos without an order, which have nothing to compare their sharpness with, all are taken.
    """
    values, indices = [], []
    for frame in bag.frames():
        progress("judging images", frame.index + 1, len(bag))
        values.append(sharpness(frame.image))
        indices.append(frame.index)
    soft = dict(zip(indices, blurred(np.array(values)) if values else (), strict=True))
    chosen: list[int] = []
    tracker, followed = ImageMotion(), 0
    for number, frame in enumerate(bag.frames()):
        progress("choosing keyframes", frame.index + 1, len(bag))
        steps = tracker.moved(frame.image) / motion
        followed += bool(np.isfinite(steps))
        passed_over = bool(soft[frame.index]) and followed >= _FILM * number
        enough = 1.0 if len(indices) > _FEW else _STILL
        due = steps >= enough and (not passed_over or _PATIENCE <= steps < np.inf)
        if due or not chosen or frame.index in named:
            chosen.append(frame.index)
            tracker.mark()
    return chosen


def simultaneous(stamps_ns: Sequence[int], wanted_ns: Sequence[int]) -> list[int]:
    """Positions of the stamps that are the same time as a wanted one, up to 5 ms; both ascending."""
    own, wanted = np.asarray(stamps_ns, dtype=np.int64), np.asarray(wanted_ns, dtype=np.int64)
    if not len(own):
        return []
    after = np.searchsorted(own, wanted)
    candidates = np.stack([np.clip(after - 1, 0, len(own) - 1), np.clip(after, 0, len(own) - 1)])
    apart = np.abs(own[candidates] - wanted)
    nearest = candidates[np.argmin(apart, axis=0), np.arange(len(wanted))]
    return [int(position) for position in np.unique(nearest[apart.min(axis=0) <= AT_ONCE_NS])]
