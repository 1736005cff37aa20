"""Light baked into the textures of a world: sun with shadows, open sky, lamps.

Computed on a coarse grid per quad by casting rays against all quads, then multiplied into the texture, so that
rendering a frame costs nothing extra and shadows stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Array
from hfnet_core.synthetic.rendering import Quad

__all__ = ["Lamp", "Lighting", "bake"]

_SKY_RAYS = 28
_BOUNCE = 0.22  # what reaches every surface after reflections


@dataclass(frozen=True)
class Lamp:
    """A point light: position in the world, metres; RGB intensity at one metre."""

    position: tuple[float, float, float]
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Lighting:
    """sun_direction: towards the sun, any length. sun, sky: RGB intensity. lamps: switched on."""

    sun_direction: tuple[float, float, float]
    sun: tuple[float, float, float]
    sky: tuple[float, float, float]
    lamps: tuple[Lamp, ...] = ()


def bake(quads: Sequence[Quad], lighting: Lighting, seed: int) -> list[Quad]:
    """The same quads with their textures lit; glowing ones unchanged."""
    blockers = _Blockers([quad for quad in quads if not quad.glowing])
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(_SKY_RAYS, 3))
    directions[:, 2] = np.abs(directions[:, 2]) + 0.15
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [quad if quad.glowing else _lit(quad, lighting, blockers, directions) for quad in quads]


class _Blockers:
    """All quads as arrays, for one question: is anything between these points and the light?"""

    def __init__(self, quads: Sequence[Quad]) -> None:
        self._origin = np.array([quad.origin for quad in quads])
        right, down = np.array([quad.right for quad in quads]), np.array([quad.down for quad in quads])
        self._corners = self._origin[:, None] + np.stack([0 * right, right, right + down, down], axis=1)
        self._normal = np.cross(right, down)
        u = np.cross(down, self._normal)
        v = np.cross(self._normal, right)
        self._u = u / (right * u).sum(axis=1, keepdims=True)
        self._v = v / (down * v).sum(axis=1, keepdims=True)

    def free(self, points: Array, direction: Array) -> NDArray[np.bool_]:
        """[N] whether no quad lies between points [N, 3] and a light infinitely far away in `direction` [3]."""
        # Seen along the light, a quad can only shade the points that its outline's bounding box covers.
        across = np.linalg.svd(direction[None])[2][1:]
        flat, corners = points @ across.T, self._corners @ across.T
        low, high = corners.min(axis=1), corners.max(axis=1)
        near = ((high > flat.min(axis=0)) & (low < flat.max(axis=0))).all(axis=1)
        clear = np.ones(len(points), bool)
        for index in np.flatnonzero(near).tolist():
            covered = np.flatnonzero(((flat > low[index]) & (flat < high[index])).all(axis=1) & clear)
            if len(covered):
                clear[covered] = ~self._cut(index, points[covered], direction, np.inf)
        return clear

    def free_towards(self, points: Array, lamp: Array) -> NDArray[np.bool_]:
        """[N] whether no quad lies between points [N, 3] and a lamp at [3]."""
        clear = np.ones(len(points), bool)
        for index in range(len(self._origin)):
            clear &= ~self._cut(index, points, lamp - points, 0.999)
        return clear

    def _cut(self, index: int, points: Array, along: Array, longest: float) -> NDArray[np.bool_]:
        """[N] whether points + t along meets the quad for 0 < t < longest."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = ((self._origin[index] - points) @ self._normal[index]) / (along @ self._normal[index])
            hit = points + t[:, None] * along - self._origin[index]
            u, v = hit @ self._u[index], hit @ self._v[index]
            cut: NDArray[np.bool_] = (t > 0) & (t < longest) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
        return cut


def _grid(quad: Quad, step_m: float) -> tuple[Array, tuple[int, int]]:
    """Points just in front of the quad, row by row, and the grid's (rows, columns)."""
    columns = int(np.clip(np.ceil(np.linalg.norm(quad.right) / step_m), 2, 160))
    rows = int(np.clip(np.ceil(np.linalg.norm(quad.down) / step_m), 2, 160))
    u, v = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return quad.point(u, v).reshape(-1, 3) + 0.01 * quad.normal, (rows, columns)


def _lit(quad: Quad, lighting: Lighting, blockers: _Blockers, sky_rays: Array) -> Quad:
    height, width = quad.texture.shape[:2]
    normal = quad.normal
    points, shape = _grid(quad, 0.4)
    weights = np.clip(sky_rays @ normal, 0.0, None)
    if quad.two_sided:
        weights = np.abs(sky_rays @ normal)
    sky = np.zeros(len(points))
    for ray, weight in zip(sky_rays, weights, strict=True):
        if weight > 0:
            sky += weight * blockers.free(points, ray)
    sky /= max(float(np.clip(sky_rays[:, 2], 0, None).sum()), 1e-9)
    light = sky[:, None] * np.array(lighting.sky) + _BOUNCE * np.array(lighting.sky)
    for lamp in lighting.lamps:
        light += _from_lamp(points, normal, lamp, blockers)
    lightmap = cv2.resize(light.reshape(*shape, 3).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    lightmap += cv2.resize(_from_sun(quad, lighting, blockers), (width, height), interpolation=cv2.INTER_LINEAR)
    # Textures are in display values; a gamma of 2.2 turns a factor of light into this factor of them.
    lit = quad.texture * np.power(np.maximum(lightmap, 1e-4), 1 / 2.2)
    return replace(quad, texture=np.clip(lit, 0, 255).astype(np.uint8))


def _from_sun(quad: Quad, lighting: Lighting, blockers: _Blockers) -> NDArray[np.float32]:
    points, shape = _grid(quad, 0.07)
    direction = np.array(lighting.sun_direction) / np.linalg.norm(lighting.sun_direction)
    facing = float(quad.normal @ direction)
    strength = abs(facing) if quad.two_sided else max(facing, 0.0)
    if strength == 0.0:
        return np.zeros((*shape, 3), np.float32)
    free = blockers.free(points, direction).astype(np.float32).reshape(shape)
    soft = cv2.GaussianBlur(free, (0, 0), 0.8, borderType=cv2.BORDER_REPLICATE)
    out: NDArray[np.float32] = (strength * soft[..., None] * np.array(lighting.sun)).astype(np.float32)
    return out


def _from_lamp(points: Array, normal: Array, lamp: Lamp, blockers: _Blockers) -> Array:
    towards = np.array(lamp.position) - points
    distance = np.linalg.norm(towards, axis=1)
    strength = np.clip(towards @ normal / distance, 0.0, None) / np.maximum(distance, 0.3) ** 2
    bright = np.flatnonzero(strength > 0.01)
    strength[strength <= 0.01] = 0.0
    strength[bright] *= blockers.free_towards(points[bright], np.array(lamp.position))
    lit: Array = strength[:, None] * np.array(lamp.color)
    return lit
