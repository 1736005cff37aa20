"""What rendered places are built of: walls, boxes and painters of their surfaces."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hfnet_core.geometry import Array
from hfnet_core.synthetic import posters, textures
from hfnet_core.synthetic.rendering import Quad
from hfnet_core.synthetic.textures import Color, Image

__all__ = ["PIXELS_PER_M", "Painter", "Site", "boards", "brick", "old_plaster", "put", "stone", "vector"]


PIXELS_PER_M = 170.0
Painter = Callable[[int, int, np.random.Generator], Image]


def vector(value: ArrayLike) -> Array:
    return np.asarray(value, dtype=np.float64)


@dataclass
class Site:
    """Collects quads; every texture has a generator of its own, named, so that one change leaves the others alone."""

    seed: int
    rearranged: bool
    quads: list[Quad] = field(default_factory=list)

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def add(
        self,
        name: str,
        origin: ArrayLike,
        right: ArrayLike,
        down: ArrayLike,
        paint: Painter,
        *,
        density: float = PIXELS_PER_M,
        glowing: bool = False,
        two_sided: bool = False,
    ) -> None:
        a, b = vector(right), vector(down)
        width, height = (max(round(float(np.linalg.norm(edge)) * density), 4) for edge in (a, b))
        texture = paint(height, width, self.rng(name))
        self.quads.append(Quad(vector(origin), a, b, texture, glowing, two_sided))

    def wall(
        self,
        name: str,
        left: tuple[float, float],
        right: tuple[float, float],
        low: float,
        high: float,
        paint: Painter,
        density: float = PIXELS_PER_M,
    ) -> None:
        """An upright quad; left and right as seen from its front."""
        edge = (right[0] - left[0], right[1] - left[1], 0.0)
        self.add(name, (*left, high), edge, (0.0, 0.0, low - high), paint, density=density)

    def box(
        self,
        name: str,
        centre: tuple[float, float],
        size: tuple[float, float],
        low: float,
        high: float,
        paint: Painter,
        top: Painter | None = None,
        yaw_deg: float = 0.0,
        density: float = PIXELS_PER_M,
    ) -> None:
        """Four sides and a lid, turned about its upright axis."""
        angle = np.deg2rad(yaw_deg)
        x_axis, y_axis = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        ring = [
            np.array(centre) + 0.5 * a * size[0] * x_axis + 0.5 * b * size[1] * y_axis
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]
        for side in range(4):
            left, right = ring[side], ring[(side + 1) % 4]
            self.wall(f"{name}/{side}", (left[0], left[1]), (right[0], right[1]), low, high, paint, density)
        back_left = ring[3]
        across, forth = (*(size[0] * x_axis), 0.0), (*(-size[1] * y_axis), 0.0)
        self.add(f"{name}/top", (*back_left, high), across, forth, top or paint, density=density)


def brick(color: Color = (158, 88, 66)) -> Painter:
    return lambda h, w, rng: textures.brick(h, w, rng, PIXELS_PER_M, color)


def stone(color: Color = (186, 178, 160)) -> Painter:
    return lambda h, w, rng: textures.stone(h, w, rng, PIXELS_PER_M, color)


def boards(color: Color = (150, 106, 66), board_m: float = 0.12, upright: bool = False) -> Painter:
    return lambda h, w, rng: textures.planks(h, w, rng, PIXELS_PER_M, color, board_m, upright)


def old_plaster(color: Color, bricks: Color = (158, 88, 66)) -> Painter:
    return lambda h, w, rng: textures.old_wall(h, w, rng, PIXELS_PER_M, color, bricks)


def put(
    wall: Image,
    rng: np.random.Generator,
    place: tuple[float, float, float, float],
    paint: Callable[..., Image],
    *args: Any,
) -> None:
    """Paint a patch of its own size onto a wall. place: left, top, width, height from the wall's top left, metres."""
    left, top, width, height = (int(value * PIXELS_PER_M) for value in place)
    posters.paste(wall, paint(height, width, rng, *args), left, top)
