"""How a camera may differ from its calibration: a map of the image onto itself, whatever the model of its lens."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hfnet_core.geometry import Array
from hfnet_core.types import Camera

__all__ = ["Deviation", "deviated", "with_focal"]


class Deviation(NamedTuple):
    """What is to be added to a calibration.

    focal: natural logarithm of the ratio of the true focal length to the one given. cx, cy: pixels at the reference
    width, by which the principal point is further right and down. k1, k2: radial distortion of the image, of radii in
    focal lengths (of a pinhole camera they are OpenCV's).
    """

    focal: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    k1: float = 0.0
    k2: float = 0.0


def with_focal(camera: Camera, change: float) -> Camera:
    """The camera with focal lengths of which the logarithms are larger by `change`."""
    count = len(camera.focal_parameters)
    lengths = tuple(length * math.exp(change) for length in camera.focal_parameters)
    return replace(camera, params=(*lengths, *camera.params[count:]))


def deviated(pixels: Array, camera: Camera, deviation: Deviation) -> tuple[Array, Array, Array]:
    """Where a camera that deviates from its calibration shows what the calibration puts at pixels [N, 2].

    camera: with the focal length that it is taken to have; the deviation's own counts for nothing here. Also the
    derivatives: [N, 2, 2] by the pixels and [N, 2, 5] by the deviation.
    """
    away = pixels - camera.principal_point
    focal = np.array(camera.focal_length)
    radius2 = ((away / focal) ** 2).sum(axis=1)[:, None]
    bend = 1.0 + radius2 * (deviation.k1 + radius2 * deviation.k2)
    shown = camera.principal_point + np.array([deviation.cx, deviation.cy]) + bend * away
    slope = 2.0 * (deviation.k1 + 2.0 * radius2 * deviation.k2) * away / focal**2
    by_pixel = bend[:, :, None] * np.eye(2) + away[:, :, None] * slope[:, None, :]
    by_deviation = np.zeros((len(pixels), 2, len(Deviation._fields)))
    by_deviation[:, :, 0] = bend * away
    by_deviation[:, 0, 1] = by_deviation[:, 1, 2] = 1.0
    by_deviation[:, :, 3] = radius2 * away
    by_deviation[:, :, 4] = radius2**2 * away
    return shown, by_pixel, by_deviation
