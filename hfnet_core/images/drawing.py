"""The image with what the localizer saw in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.types import Features, Float32, Localization, Localized, Reason

__all__ = ["draw", "draw_frame_set"]

_KEYPOINT, _INLIER, _DOUBTED, _LOST = (150, 150, 150), (40, 220, 60), (250, 160, 20), (235, 60, 50)  # RGB


def draw_frame_set(
    images: Sequence[NDArray[Any]], features: Sequence[Features | None], result: Localization
) -> NDArray[np.uint8]:
    """`draw` of all images of one time, side by side."""
    drawn = []
    for view, (pixels, found) in enumerate(zip(images, features, strict=True)):
        own = replace(result, unused_px=result.unused_px[result.unused_views == view])
        if isinstance(own, Localized):
            own = replace(own, keypoints_px=own.keypoints_px[own.views == view])
        drawn.append(draw(pixels, found, own))
    canvas = np.zeros((max(image.shape[0] for image in drawn), sum(image.shape[1] for image in drawn), 3), np.uint8)
    left = 0
    for image in drawn:
        canvas[: image.shape[0], left : left + image.shape[1]] = image
        left += image.shape[1]
    return canvas


def draw(pixels: NDArray[Any], features: Features | None, result: Localization) -> NDArray[np.uint8]:
    """RGB [H, W, 3]: keypoints gray, matches that made the pose green, those that did not red, and the state as text.

    Matches that made a pose which waits for other images to agree are orange. pixels: gray or RGB, uint8 or uint16.
    """
    shown = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    canvas = cv2.cvtColor(shown, cv2.COLOR_GRAY2RGB) if shown.ndim == 2 else shown.copy()
    size = max(1, canvas.shape[1] // 320)
    if features is not None:
        for x, y in np.rint(features.keypoints_px).astype(int).tolist():
            cv2.circle(canvas, (x, y), size, _KEYPOINT, -1)
    localized = isinstance(result, Localized)
    doubted = not isinstance(result, Localized) and result.reason is Reason.INCONSISTENT
    _circle(canvas, result.unused_px, size, _DOUBTED if doubted else _LOST)
    if isinstance(result, Localized):
        _circle(canvas, result.keypoints_px, size, _INLIER)
        text = f"{result.mode.value}: {result.inliers} of {result.matches} matches"
    else:
        text = f"{result.reason.value}: {result.inliers} of {result.matches} matches"
    origin = (4 * size, 12 * size)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * size, (0, 0, 0), 3 * size)
    cv2.putText(canvas, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * size, _INLIER if localized else _LOST, size)
    return np.asarray(canvas)


def _circle(canvas: NDArray[np.uint8], keypoints_px: Float32, size: int, colour: tuple[int, int, int]) -> None:
    for x, y in np.rint(keypoints_px).astype(int).tolist():
        cv2.circle(canvas, (x, y), 2 * size, colour, size)
