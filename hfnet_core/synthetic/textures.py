"""Procedural surfaces: masonry, plaster, paving, wood, cloth and sky.

Every function paints from a random generator alone, so a seed decides every pixel, and no two walls repeat.
Images are RGB uint8 [H, W, 3]; sizes are in pixels unless named otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Color",
    "FloatImage",
    "Image",
    "brick",
    "cloth",
    "clouds",
    "fractal",
    "old_wall",
    "paving",
    "planks",
    "plaster",
    "roof",
    "stone",
    "to_image",
]

Image = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
_PAVING = ((150, 144, 134), (128, 122, 116), (164, 150, 128), (120, 124, 130), (142, 126, 110))
Color = Sequence[float]


def fractal(height: int, width: int, rng: np.random.Generator, scale_px: float, octaves: int = 5) -> FloatImage:
    """Smooth noise [H, W] in 0..1: structures `scale_px` wide, then half the size at half the weight, and so on."""
    total = np.zeros((height, width), np.float32)
    weight, norm = 1.0, 0.0
    for octave in range(octaves):
        step = max(scale_px / 2**octave, 1.0)
        grid = rng.random((int(height / step) + 3, int(width / step) + 3), dtype=np.float32)
        size = (int(grid.shape[1] * step) + 1, int(grid.shape[0] * step) + 1)
        total += weight * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[:height, :width]
        norm += weight
        weight *= 0.55
    out: FloatImage = np.clip((total / norm - 0.5) * 1.9 + 0.5, 0.0, 1.0)
    return out


def to_image(values: NDArray[Any]) -> Image:
    """Clip to 0..255 and convert to uint8."""
    out: Image = np.clip(values, 0.0, 255.0).astype(np.uint8)
    return out


def _tinted(gray: FloatImage, color: Color) -> FloatImage:
    return gray[..., None] * np.asarray(color, np.float32)


def _weather(image: FloatImage, rng: np.random.Generator, pixels_per_m: float, strength: float = 0.35) -> FloatImage:
    """Large stains, rain streaks and grime that rises from the ground, in place on a float image."""
    height, width = image.shape[:2]
    stains = fractal(height, width, rng, 1.6 * pixels_per_m, 5)
    image *= (1.0 - strength * 0.7 + strength * 1.4 * stains)[..., None]
    streaks = cv2.resize(fractal(max(height // 24, 2), width, rng, 0.25 * pixels_per_m, 4), (width, height))
    top = np.linspace(1.0, 0.1, height, dtype=np.float32)[:, None]
    image *= (1.0 - strength * np.clip(streaks - 0.55, 0.0, 1.0) * 1.6 * top)[..., None]
    ground = np.clip((np.arange(height, dtype=np.float32) - height) / (0.5 * pixels_per_m) + 1.0, 0.0, 1.0)[:, None]
    image *= (1.0 - 0.55 * strength * ground * (0.4 + stains))[..., None]
    return image


def brick(
    height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color = (158, 88, 66)
) -> Image:
    """A brick wall in running bond with uneven joints, burnt and pale bricks and stains."""
    brick_h, brick_w = 0.085 * pixels_per_m, 0.25 * pixels_per_m
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x += 3.0 * (fractal(height, width, rng, 0.2 * pixels_per_m, 3) - 0.5)
    y += 3.0 * (fractal(height, width, rng, 0.2 * pixels_per_m, 3) - 0.5)
    row = np.clip((y / brick_h).astype(np.int32), 0, None)
    rows, columns = int(row.max()) + 1, int(width / brick_w) + 3
    shift = (np.arange(rows) % 2 * 0.5 + rng.uniform(-0.12, 0.12, rows)).astype(np.float32)
    along = x / brick_w + shift[row] + 1.0
    column = np.clip(along.astype(np.int32), 0, columns - 1)
    shade = rng.normal(1.0, 0.16, (rows, columns)).astype(np.float32)
    odd = rng.random((rows, columns))
    shade[odd < 0.07] *= 0.5
    shade[odd > 0.95] *= 1.35
    hue = rng.normal(0.0, 0.06, (rows, columns, 3)).astype(np.float32)
    grain = 0.75 + 0.5 * fractal(height, width, rng, 0.05 * pixels_per_m, 4)
    image = (shade[..., None] * (1.0 + hue) * np.asarray(color, np.float32))[row, column] * grain[..., None]
    edge_x = np.minimum(along - column, 1.0 - (along - column)) * brick_w
    edge_y = np.minimum(y - row * brick_h, (row + 1) * brick_h - y)
    joint = np.clip(1.6 - np.minimum(edge_x, edge_y) + 1.2 * (grain - 1.0), 0.0, 1.0)[..., None]
    mortar = _tinted(0.8 + 0.35 * fractal(height, width, rng, 0.03 * pixels_per_m, 3), (168, 160, 148))
    return to_image(_weather(image * (1.0 - joint) + mortar * joint, rng, pixels_per_m))


def plaster(
    height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color = (214, 190, 146)
) -> Image:
    """Trowelled plaster with hair cracks and repairs."""
    coarse, fine = fractal(height, width, rng, 0.9 * pixels_per_m), fractal(height, width, rng, 0.06 * pixels_per_m, 4)
    image = _tinted(0.82 + 0.22 * coarse + 0.16 * fine, color)
    repair = np.clip((fractal(height, width, rng, 0.7 * pixels_per_m, 4) - 0.66) * 25.0, 0.0, 1.0)[..., None]
    image = image * (1.0 - 0.5 * repair) + 0.5 * repair * np.asarray((196, 190, 180), np.float32)
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(int(2 + 1.2 * height * width / pixels_per_m**2 / 2)):
        start = rng.uniform((0, 0), (width, height))
        steps = rng.normal(0.0, 0.035 * pixels_per_m, (25, 2)) + rng.normal(0.0, 0.05 * pixels_per_m, 2)
        line = np.round(start + np.cumsum(steps, axis=0)).astype(np.int32)
        cv2.polylines(canvas, [line.reshape(-1, 1, 2)], False, 255, 1, cv2.LINE_AA)
    image *= 1.0 - 0.5 * (canvas.astype(np.float32) / 255.0)[..., None]
    return to_image(_weather(image, rng, pixels_per_m, 0.3))


def old_wall(
    height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color, bricks: Color
) -> Image:
    """Plaster that has fallen off in places and shows the bricks below, with a shadowed rim."""
    below = brick(height, width, rng, pixels_per_m, bricks).astype(np.float32)
    above = plaster(height, width, rng, pixels_per_m, color).astype(np.float32)
    field = fractal(height, width, rng, 1.5 * pixels_per_m, 6)
    field += 0.12 * np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None] ** 3
    gone = np.clip((field - 0.62) * 60.0, 0.0, 1.0)
    rim = np.clip(1.0 - np.abs(field - 0.625) * 70.0, 0.0, 1.0)
    image = above * (1.0 - gone)[..., None] + below * gone[..., None]
    return to_image(image * (1.0 - 0.45 * rim)[..., None])


def paving(height: int, width: int, rng: np.random.Generator, pixels_per_m: float, size_m: float = 0.3) -> Image:
    """Irregular paving stones (Voronoi cells of a shaken grid) with moss in the joints."""
    step = size_m * pixels_per_m
    rows, columns = int(height / step) + 2, int(width / step) + 2
    centres = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(np.float64)
    centres[:, 0] += 0.5 * (centres[:, 1] % 2)
    centres = (centres + rng.uniform(-0.33, 0.33, centres.shape)) * step
    seeds = np.full((height, width), 255, np.uint8)
    inside = (centres >= 0).all(axis=1) & (centres[:, 0] < width) & (centres[:, 1] < height)
    pixels = centres[inside].astype(np.int32)
    seeds[pixels[:, 1], pixels[:, 0]] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    count = int(labels.max()) + 1
    edges = np.zeros((height, width), np.uint8)
    edges[:, 1:] |= (labels[:, 1:] != labels[:, :-1]).astype(np.uint8)
    edges[1:] |= (labels[1:] != labels[:-1]).astype(np.uint8)
    distance = cv2.distanceTransform(1 - edges, cv2.DIST_L2, 5).astype(np.float32)
    palette = np.asarray(_PAVING, np.float32)
    tone = palette[rng.integers(0, len(palette), count)] * rng.normal(1.0, 0.13, (count, 1)).astype(np.float32)
    grain = 0.68 + 0.6 * fractal(height, width, rng, 0.08 * pixels_per_m, 5)
    image = tone[labels] * grain[..., None]
    image *= (0.72 + 0.28 * np.clip(distance / (0.05 * pixels_per_m), 0.0, 1.0))[..., None]
    joint = np.clip(1.5 - distance / (0.008 * pixels_per_m) * 0.6, 0.0, 1.0)[..., None]
    moss = fractal(height, width, rng, 1.2 * pixels_per_m, 5)[..., None]
    filling = np.asarray((66, 60, 52), np.float32) * (1.0 - moss) + np.asarray((74, 92, 44), np.float32) * moss
    image = image * (1.0 - joint) + filling * joint
    return to_image(image * (0.78 + 0.44 * fractal(height, width, rng, 2.2 * pixels_per_m, 5))[..., None])


def stone(
    height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color = (186, 178, 160)
) -> Image:
    """Sandstone blocks with veins and chiselled edges, for pillars and basins."""
    grain = fractal(height, width, rng, 0.25 * pixels_per_m, 6)
    veins = 1.0 - np.clip(np.abs(fractal(height, width, rng, 0.5 * pixels_per_m, 5) - 0.5) * 22.0, 0.0, 1.0)
    image = _tinted(0.72 + 0.5 * grain - 0.25 * veins, color)
    y = 0.0
    while y < height:
        block = rng.uniform(0.28, 0.45) * pixels_per_m
        image[int(y) : int(y + block)] *= rng.uniform(0.86, 1.12)
        image[int(y) : int(y) + 2] *= 0.5
        y += block
    for _ in range(int(height * width / pixels_per_m**2 * 30)):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        shade = float(rng.uniform(0.5, 0.8))
        dark = tuple(float(value) * shade for value in color)
        cv2.circle(image, centre, int(rng.uniform(1.0, 0.014 * pixels_per_m + 1.0)), dark, -1, cv2.LINE_AA)
    return to_image(_weather(image, rng, pixels_per_m, 0.3))


def planks(
    height: int,
    width: int,
    rng: np.random.Generator,
    pixels_per_m: float,
    color: Color = (150, 106, 66),
    board_m: float = 0.14,
    upright: bool = False,
) -> Image:
    """Boards with grain, knots, gaps and nails; across the picture, or upright."""
    if upright:
        return np.ascontiguousarray(planks(width, height, rng, pixels_per_m, color, board_m).transpose(1, 0, 2))
    image = np.empty((height, width, 3), np.float32)
    y = 0
    while y < height:
        board = max(int(board_m * rng.uniform(0.85, 1.15) * pixels_per_m), 4)
        end = min(y + board, height)
        grain = cv2.resize(fractal(end - y + 8, max(width // 14, 4), rng, 7.0, 4), (width, end - y))
        wave = 0.06 * pixels_per_m * fractal(end - y, width, rng, 0.5 * pixels_per_m, 3)
        rings = 0.5 + 0.5 * np.sin(wave + np.arange(end - y, dtype=np.float32)[:, None] * 0.9)
        tone = np.asarray(color, np.float32) * rng.normal(1.0, 0.12) * rng.normal(1.0, 0.03, 3).astype(np.float32)
        image[y:end] = (0.62 + 0.55 * grain + 0.10 * rings)[..., None] * tone
        for _ in range(rng.poisson(0.9 * width / pixels_per_m)):
            knot = (int(rng.integers(0, width)), int(rng.integers(y, end)))
            axes = (int(rng.uniform(0.01, 0.03) * pixels_per_m) + 1, int(rng.uniform(0.008, 0.02) * pixels_per_m) + 1)
            cv2.ellipse(image, knot, axes, 0, 0, 360, tuple(float(v) for v in tone * 0.4), -1, cv2.LINE_AA)
        for nail in (0.04, 0.96):
            cv2.circle(image, (int(nail * width), (y + end) // 2), max(int(0.006 * pixels_per_m), 1), (40, 36, 34), -1)
        image[y : y + 2] *= 0.3
        image[max(end - 1, y) : end] *= 0.55
        y = end
    return to_image(image * (0.8 + 0.35 * fractal(height, width, rng, 1.0 * pixels_per_m, 4))[..., None])


def roof(height: int, width: int, rng: np.random.Generator, pixels_per_m: float, color: Color = (150, 74, 52)) -> Image:
    """Rows of clay tiles."""
    tile = 0.2 * pixels_per_m
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / tile
    row = y.astype(np.int32)
    column = (x + 0.5 * (row % 2)).astype(np.int32)
    tone = rng.normal(1.0, 0.17, (int(row.max()) + 1, int(column.max()) + 1)).astype(np.float32)[row, column]
    bend = np.sqrt(np.clip(1.0 - (2.0 * (x + 0.5 * (row % 2) - column) - 1.0) ** 2, 0.0, 1.0))
    shade = (0.45 + 0.55 * bend) * (0.6 + 0.4 * (y - row)) * tone
    return to_image(_tinted(shade * (0.7 + 0.6 * fractal(height, width, rng, 0.5 * pixels_per_m)), color))


def cloth(height: int, width: int, rng: np.random.Generator, first: Color, second: Color, stripes: int) -> Image:
    """A striped awning with folds."""
    stripe = (np.arange(width) * stripes // width % 2)[None, :, None]
    image = np.where(stripe == 0, np.asarray(first, np.float32), np.asarray(second, np.float32))
    folds = 0.75 + 0.4 * cv2.resize(fractal(4, width, rng, width / 9.0, 4), (width, height))
    weave = 0.9 + 0.2 * fractal(height, width, rng, 6.0, 3)
    return to_image(np.broadcast_to(image, (height, width, 3)) * (folds * weave)[..., None])


def clouds(size: int, rng: np.random.Generator, zenith: Color, cloud: Color, cover: float) -> Image:
    """A square of sky with clouds; `cover` 0..1 is about the share that is cloudy."""
    field = fractal(size, size, rng, size / 9.0, 7)
    amount = np.clip((field - (1.0 - cover)) * 4.0, 0.0, 1.0)[..., None]
    shaded = np.asarray(cloud, np.float32) * (0.85 + 0.2 * fractal(size, size, rng, size / 30.0, 4))[..., None]
    return to_image(np.asarray(zenith, np.float32) * (1.0 - amount) + shaded * amount)
