"""Choosing keyframes where no pose says how far the camera has moved: by the motion of the image itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from hfnet_core.mapping.bags import Bag
from hfnet_core.mapping.image_motion import ImageMotion
from hfnet_core.mapping.keyframes import blurred, sharpness

__all__ = ["AT_ONCE_NS", "choose_by_motion", "simultaneous"]

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
