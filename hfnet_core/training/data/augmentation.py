"""Random homography crops and photometric noise, both on gray images and reproducible from a numpy generator.

Pixel coordinates have (0, 0) at the centre of the top-left pixel; homographies map source to crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CropRange", "crop_pair", "cut_out", "photometric", "random_homography", "warp_image", "warp_points"]

Generator = np.random.Generator
Matrix = NDArray[np.float64]
_Step = Callable[[Generator, NDArray[np.float32], float], NDArray[np.float32]]


@dataclass(frozen=True)
class CropRange:
    """How far a crop may differ from the photo.

    scale: crop pixels per photo pixel (low, high), drawn log-uniformly; rotation_deg: largest turn either way;
    perspective: largest shift of each corner, as a share of the crop's side; tilt: largest foreshortening along a
    random direction (1 for none), drawn log-uniformly.
    """

    scale: tuple[float, float] = (0.7, 1.6)
    rotation_deg: float = 30.0
    perspective: float = 0.12
    tilt: float = 2.2


def random_homography(rng: Generator, source: tuple[float, float], size: tuple[int, int], limits: CropRange) -> Matrix:
    """Photo -> crop homography [3, 3] that puts photo pixel `source` (x, y) at the middle of a crop (width, height)."""
    width, height = size
    scale = float(np.exp(rng.uniform(*np.log(limits.scale))))
    angle = np.deg2rad(np.clip(rng.normal(0.0, limits.rotation_deg / 2), -limits.rotation_deg, limits.rotation_deg))
    direction, ratio = rng.uniform(0, np.pi), np.exp(rng.uniform(0, np.log(limits.tilt)) / 2)
    foreshorten = _rotation(direction) @ np.diag([scale / ratio, scale * ratio]) @ _rotation(-direction)
    similarity = np.eye(3)
    similarity[:2, :2] = foreshorten @ _rotation(angle)
    to_middle = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    from_source = np.array([[1, 0, -source[0]], [0, 1, -source[1]], [0, 0, 1]])
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float32)
    moved = corners + rng.uniform(-1, 1, (4, 2)) * limits.perspective * np.array([width, height])
    perspective = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return np.asarray(perspective @ to_middle @ similarity @ from_source, dtype=np.float64)


def _rotation(angle: float) -> Matrix:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def crop_pair(
    rng: Generator, image_size: tuple[int, int], size: tuple[int, int], limits: CropRange, shift: float
) -> tuple[Matrix, Matrix]:
    """Two homographies photo -> crop whose middles lie within `shift` crop sides of each other."""
    middle = np.array([_coordinate(rng, image_size[axis], size[axis]) for axis in (0, 1)])
    offset = rng.uniform(-shift, shift, 2) * np.array(size)
    other = np.clip(middle + offset, 0, np.array(image_size) - 1.0)
    return (
        random_homography(rng, (middle[0], middle[1]), size, limits),
        random_homography(rng, (other[0], other[1]), size, limits),
    )


def cut_out(homography: Matrix, image_size: tuple[int, int], size: tuple[int, int]) -> Matrix:
    """Photo -> crop that shows the photo's own pixels around what `homography` shows in the middle of its crop, as far
    inside the photo as it is large enough."""
    middle = np.linalg.inv(homography) @ [(size[0] - 1) / 2, (size[1] - 1) / 2, 1.0]
    corner = np.rint(middle[:2] / middle[2] - (np.array(size) - 1) / 2)
    room = np.array(image_size) - np.array(size)
    corner = np.clip(corner, np.minimum(room, 0), np.maximum(room, 0))
    return np.array([[1.0, 0.0, -corner[0]], [0.0, 1.0, -corner[1]], [0.0, 0.0, 1.0]])


def _coordinate(rng: Generator, image_side: int, crop_side: int) -> float:
    margin = min(0.42 * crop_side, 0.5 * image_side)
    return float(rng.uniform(margin, image_side - margin)) - 0.5


def warp_points(homography: Matrix, xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points [K, 2] through a homography; those behind the camera become NaN."""
    homogeneous = np.c_[xy.astype(np.float64), np.ones(len(xy))] @ homography.T
    depth = np.where(homogeneous[:, 2:] > 1e-9, homogeneous[:, 2:], np.nan)
    return np.asarray(homogeneous[:, :2] / depth, np.float32)


def warp_image(
    image: NDArray[np.uint8], homography: Matrix, size: tuple[int, int], border: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The crop [height, width] and where it shows the photo; outside it has the gray value `border`."""
    crop = cv2.warpPerspective(image, homography, size, flags=cv2.INTER_LINEAR, borderValue=(border,))
    inside = cv2.warpPerspective(
        np.full(image.shape, 255, np.uint8), homography, size, flags=cv2.INTER_NEAREST, borderValue=(0,)
    )
    return np.asarray(crop, np.uint8), inside > 0


def photometric(rng: Generator, image: NDArray[np.uint8], strength: float = 1.0) -> NDArray[np.uint8]:
    """Light and camera noise, in random order: gamma, contrast and brightness, ellipse shade, blur, noise.

    strength: 0 changes nothing, 1 is the full range.
    """
    steps: tuple[_Step, ...] = (_light, _shade, _blur, _noise)
    result = image.astype(np.float32)
    for index in rng.permutation(len(steps)):
        result = np.clip(steps[index](rng, result, strength), 0, 255)
    return np.rint(result).astype(np.uint8)


def _light(rng: Generator, image: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    gamma = float(np.exp(strength * rng.uniform(np.log(0.5), np.log(1.8))))
    gain = float(np.exp(strength * rng.uniform(np.log(0.5), np.log(1.5))))
    offset = float(strength * rng.uniform(-40, 40))
    table = 255 * (np.arange(256, dtype=np.float32) / 255) ** gamma
    mean = float(image.mean())
    curved = cv2.LUT(np.rint(image).astype(np.uint8), table) if rng.random() < 0.7 else image
    return np.asarray((curved - mean) * gain + mean + offset, np.float32)


def _shade(rng: Generator, image: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    if rng.random() > 0.4 * strength:
        return image
    height, width = image.shape
    reduced = (max(width // 8, 1), max(height // 8, 1))
    mask = np.zeros((reduced[1], reduced[0]), np.float32)
    for _ in range(int(rng.integers(3, 20))):
        axes = rng.integers(max(min(reduced) // 20, 1), max(min(reduced) // 4, 2), 2)
        centre = (int(rng.integers(reduced[0])), int(rng.integers(reduced[1])))
        cv2.ellipse(mask, centre, (int(axes[0]), int(axes[1])), float(rng.uniform(0, 180)), 0, 360, (1.0,), -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(1, 3))), np.float32)
    full = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(image * (1 - rng.uniform(-0.5, 0.6) * full), np.float32)


def _blur(rng: Generator, image: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    draw = rng.random()
    if draw < 0.2 * strength:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 2.2))), np.float32)
    if draw < 0.32 * strength:
        length = int(rng.integers(2, 6)) * 2 + 1
        kernel = np.zeros((length, length), np.float32)
        direction = rng.uniform(0, np.pi)
        reach = (length - 1) / 2 * np.array([np.cos(direction), np.sin(direction)])
        start, end = np.rint((length - 1) / 2 - reach), np.rint((length - 1) / 2 + reach)
        cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), (1.0,), 1)
        return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.float32)
    return image


def _noise(rng: Generator, image: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    if rng.random() > 0.6 * strength:
        return image
    deviation = rng.uniform(0, 12)
    return np.asarray(image + rng.standard_normal(image.shape, np.float32) * deviation, np.float32)
