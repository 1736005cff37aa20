"""Choosing keyframes of a drive, by motion and rotation, preferring sharp images; also while the drive goes on.

An image is compared with those before and after it, so it is decided upon some images later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.keyframes.image_motion import ImageMotion
from hfnet_core.recordings.bags import Bag

__all__ = [
    "FrameSummary",
    "KeyframeChooser",
    "MotionChooser",
    "choose_by_motion",
    "select_keyframes",
    "sharpness",
    "simultaneous",
]

_SHARPNESS_WIDTH = 320  # blur that matters shows at this size, noise of the sensor does not
_WINDOW = 15  # neighbours on each side that an image's sharpness is compared with
_KEPT = 4 * _WINDOW  # values, of which those around an image that waits are asked for
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


class _Neighbourhood:
    """Values of images in order, and what is usual around each. Of those long past nothing is kept."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=_KEPT)
        self._count = 0

    def append(self, value: float) -> None:
        self._newest.append(value)
        self._count += 1

    def pop(self) -> None:
        """Take back the last one."""
        self._newest.pop()
        self._count -= 1

    def __getitem__(self, position: int) -> float:
        return self._newest[position - self._count]

    def typical(self, position: int) -> float:
        """The median of a value and those around it, mirrored at the ends; of all of them where there are few."""
        last = self._count - 1
        if last < _WINDOW:
            return float(np.median(self._newest))
        around = np.abs(np.arange(position - _WINDOW, position + _WINDOW + 1))
        around = np.where(around > last, 2 * last - around, around)
        return float(np.median([self[index] for index in around.tolist()]))


class KeyframeChooser:
    """Chooses keyframes by their poses, frame by frame.

    A keyframe follows when the camera has moved distance_m or turned angle_deg since the last one. Among frames that
    qualify, one that is much blurrier than its neighbourhood, or taken while the camera turned much faster, which
    bends images of rolling shutters, is passed over for a following one, until the motion has doubled. The first
    usable frame always is a keyframe.
    """

    def __init__(self, distance_m: float, angle_deg: float) -> None:
        self._distance_m, self._angle_deg = distance_m, angle_deg
        self._sharpness, self._rates = _Neighbourhood(), _Neighbourhood()
        self._waiting: deque[Pose] = deque()
        self._newest: Pose | None = None
        self._turned_deg = 0.0  # on the way to the newest
        self._last: Pose | None = None
        self.decided = 0
        """How many of the frames added so far are decided upon."""

    def add(self, map_from_camera: Pose, sharpness: float) -> list[int]:
        """The next frame; returns positions, counted from the first frame, of keyframes that are chosen now."""
        if self._newest is not None:
            turned_deg = pose_error(self._newest, map_from_camera)[1]
            self._rates.append(max(self._turned_deg, turned_deg))  # of the steps before and after it
            self._turned_deg = turned_deg
        self._newest = map_from_camera
        self._sharpness.append(sharpness)
        self._waiting.append(map_from_camera)
        return self._decide() if len(self._waiting) > _WINDOW + 1 else []

    def outlook(self) -> list[int]:
        """Positions not decided upon yet of the keyframes that would be chosen if no frame followed."""
        if not self._waiting:
            return []
        before = self.decided, self._waiting, self._last
        self._waiting = deque(self._waiting)
        self._rates.append(self._turned_deg)
        try:
            return [position for _ in before[1] for position in self._decide()]
        finally:
            self._rates.pop()
            self.decided, self._waiting, self._last = before

    def finish(self) -> list[int]:
        """No frame follows: decide upon the rest."""
        if not self._waiting:
            return []
        self._rates.append(self._turned_deg)
        chosen: list[int] = []
        while self._waiting:
            chosen += self._decide()
        return chosen or ([0] if self._last is None else [])

    def _decide(self) -> list[int]:
        position, pose = self.decided, self._waiting.popleft()
        self.decided += 1
        if self._last is None:
            steps = float("inf") if position >= _WINDOW else 1.0
        else:
            moved, turned = pose_error(self._last, pose)
            steps = max(_ratio(moved, self._distance_m), _ratio(turned, self._angle_deg))
        if steps < 1.0 or (steps < _PATIENCE and self._is_poor(position)):
            return []
        self._last = pose
        return [position]

    def _is_poor(self, position: int) -> bool:
        rate = self._rates[position]
        hasty = rate > _FAST_DEG and rate > _FASTER * self._rates.typical(position)
        return hasty or _is_soft(self._sharpness, position)


def select_keyframes(frames: Sequence[FrameSummary], distance_m: float, angle_deg: float) -> list[int]:
    """Positions in `frames` of the keyframes, increasing, as `KeyframeChooser` chooses them."""
    chooser, chosen = KeyframeChooser(distance_m, angle_deg), []
    for frame in frames:
        chosen += chooser.add(frame.map_from_camera, frame.sharpness)
    return chosen + chooser.finish()


def _ratio(value: float, unit: float) -> float:
    return value / unit if unit > 0 else float("inf")


def _is_soft(values: _Neighbourhood, position: int) -> bool:
    """Whether an image is much less sharp than is usual around it."""
    return values[position] < _SOFT * values.typical(position)


AT_ONCE_NS = 5_000_000  # images of cameras that are triggered together differ by less
_FEW = 60  # images: thinned less, as there is little to save
_STILL = 0.3  # steps, among few images: nearly the same view again
_FILM = 0.5  # of the images follow from the one before: a film, not a collection of photos


class MotionChooser:
    """Chooses keyframes by what moves in the images, image by image.

    A keyframe follows when the image has moved by the share `motion` of its width since the last one, or nothing that
    was seen then can be followed any more. Of few images all are taken that differ somewhat. In a film, blurred images
    are passed over; of photos without an order, which have nothing to compare their sharpness with, all are taken. The
    first image always is a keyframe.
    """

    def __init__(self, motion: float, *, few: bool = False) -> None:
        self._motion, self._enough = motion, _STILL if few else 1.0
        self._sharpness = _Neighbourhood()
        self._waiting: deque[tuple[NDArray[Any], bool]] = deque()
        self._tracker, self._followed, self._any = ImageMotion(), 0, False
        self.decided = 0
        """How many of the images added so far are decided upon."""

    def add(self, image: NDArray[Any], *, wanted: bool = False) -> list[int]:
        """The next image; returns positions, counted from the first image, of keyframes that are chosen now.

        wanted: it becomes one in any case.
        """
        self._sharpness.append(sharpness(image))
        self._waiting.append((image, wanted))
        return self._decide() if len(self._waiting) > _WINDOW else []

    def finish(self) -> list[int]:
        """No image follows: decide upon the rest."""
        chosen: list[int] = []
        while self._waiting:
            chosen += self._decide()
        return chosen

    def _decide(self) -> list[int]:
        position, (image, wanted) = self.decided, self._waiting.popleft()
        self.decided += 1
        steps = self._tracker.moved(image) / self._motion
        self._followed += bool(np.isfinite(steps))
        passed_over = _is_soft(self._sharpness, position) and self._followed >= _FILM * position
        due = steps >= self._enough and (not passed_over or _PATIENCE <= steps < np.inf)
        if not (due or wanted or not self._any):
            return []
        self._any = True
        self._tracker.mark()
        return [position]


def choose_by_motion(
    bag: Bag, motion: float, named: Collection[int], progress: Callable[[str, int, int], None]
) -> list[int]:
    """Indices of the images of a bag that become keyframes, increasing, as `MotionChooser` chooses them; `named` do in
    any case."""
    chooser = MotionChooser(motion, few=len(bag) <= _FEW)
    indices: list[int] = []
    positions: list[int] = []
    for frame in bag.frames():
        progress("choosing keyframes", frame.index + 1, len(bag))
        indices.append(frame.index)
        positions += chooser.add(frame.image, wanted=frame.index in named)
    return [indices[position] for position in (*positions, *chooser.finish())]


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
