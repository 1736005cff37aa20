"""How far an image has moved, where no pose says it: corners followed by optical flow (Lucas-Kanade, OpenCV)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["ImageMotion"]

_WIDTH_PX = 320  # motion between keyframes shows at this size, and following corners stays cheap
_CORNERS = 300
_MIN_CORNERS = 20  # fewer say nothing
_MIN_SHARE = 0.3  # of the corners of the mark, still followed: below, most of what was seen is gone
_PARALLAX = 6.0  # times as telling as displacement, most of which is turning: it is what depth is computed from
_RETURN_PX = 1.0  # a corner followed there and back must end this close to where it began


class ImageMotion:
    """How far what is seen has moved since a marked image, as a share of the image's width.

    That is the median displacement or, where a camera circles something that stays in the middle, six times the
    parallax: what remains (80th percentile) after the best shift, turn and zoom of the image as a whole.
    Corners of the marked image are followed from one image to the next, so consecutive images of a recording must be
    given, none left out. Photos without an order lose all corners at once: each one counts as infinitely far.
    """

    def __init__(self) -> None:
        self._previous: NDArray[np.uint8] | None = None
        self._start = self._now = np.zeros((0, 2), np.float32)
        self._marked = 0

    def moved(self, image: NDArray[Any]) -> float:
        """Follow the corners into this image ([H, W] or [H, W, 3], uint8 or uint16); inf where they are lost."""
        gray = _reduced(image)
        previous, self._previous = self._previous, gray
        if previous is None or previous.shape != gray.shape or len(self._now) < _MIN_CORNERS:
            self._start = self._now = self._start[:0]
            return float("inf")
        found, kept = _follow(previous, gray, self._now)
        self._start, self._now = self._start[kept], found[kept]
        if len(self._now) < max(_MIN_CORNERS, _MIN_SHARE * self._marked):
            return float("inf")
        shift = float(np.median(np.linalg.norm(self._now - self._start, axis=1)))
        return max(shift, _PARALLAX * _parallax(self._start, self._now)) / float(gray.shape[1])

    def mark(self) -> None:
        """From now on motion counts from the image that `moved` was given last."""
        if self._previous is not None:
            corners = cv2.goodFeaturesToTrack(self._previous, _CORNERS, qualityLevel=0.01, minDistance=7)
            self._start = self._now = np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
            self._marked = len(self._now)


def _reduced(image: NDArray[Any]) -> NDArray[np.uint8]:
    gray = image if image.ndim == 2 else image[:, :, 1]  # green: corners are the same
    if gray.dtype != np.uint8:
        gray = (gray >> 8).astype(np.uint8)
    scale = _WIDTH_PX / max(gray.shape)
    if scale >= 1:
        return np.ascontiguousarray(gray)
    size = (max(8, round(gray.shape[1] * scale)), max(8, round(gray.shape[0] * scale)))
    return np.asarray(cv2.resize(np.ascontiguousarray(gray), size, interpolation=cv2.INTER_AREA))


def _parallax(start: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """80th percentile of the displacements [px] that the best similarity of the plane leaves."""
    a, b = (side.astype(np.float64) @ (1.0, 1.0j) for side in (start, now))  # a similarity is b = s a + t
    a, b = a - a.mean(), b - b.mean()
    factor = np.vdot(a, b) / max(np.vdot(a, a).real, 1e-9)
    return float(np.quantile(np.abs(b - factor * a), 0.8))


def _follow(
    previous: NDArray[np.uint8], current: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where the points are in the current image, and which of them come back when followed backwards."""
    forward, seen, _ = cv2.calcOpticalFlowPyrLK(previous, current, points[:, None], None)
    back, seen_back, _ = cv2.calcOpticalFlowPyrLK(current, previous, forward, None)
    apart = np.linalg.norm(back.reshape(-1, 2) - points, axis=1)
    kept = (seen.ravel() > 0) & (seen_back.ravel() > 0) & (apart < _RETURN_PX)
    return forward.reshape(-1, 2), np.asarray(kept)
