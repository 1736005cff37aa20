"""A street to drive along: house after house, each of its own.

World frame: x along the street, y to its left, z up, metres; houses at y -6 and 6.
"""

from __future__ import annotations

import cv2
import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.synthetic import posters, textures
from hfnet_core.synthetic.alike.place import Place, Way
from hfnet_core.synthetic.building import PIXELS_PER_M, Painter, Site, put
from hfnet_core.synthetic.textures import Image
from hfnet_core.synthetic.walk import look

__all__ = ["RATE_HZ", "SPEEDS_M_S", "street"]

SPEEDS_M_S = (1.0, 5.0, 12.0, 20.0)
RATE_HZ = 10.0
_HOUSE, _HOUSES, _SIDE, _HIGH = 7.0, 16, 6.0, 6.0
_COARSE = 60.0  # pixels per metre of what is far away or below
_SURGE, _SURGE_S = 0.15, 4.0  # share by which the speed varies, and how slowly
_NAMES = ("BAKERY", "CLOCKS", "BOOKS", "TAILOR", "FLOWERS", "CAFE", "SHOES", "TOYS")
_WALLS = ((206, 120, 88), (220, 200, 150), (170, 186, 176), (196, 170, 120), (186, 150, 140))


def street(seed: int = 0, images: int = 30) -> Place:
    """images: of each drive, at most; at one speed each."""
    site, length = Site(seed, rearranged=False), _HOUSE * _HOUSES
    for number in range(_HOUSES):
        west, east = _HOUSE * number, _HOUSE * (number + 1)
        site.wall(f"left/{number}", (west, _SIDE), (east, _SIDE), 0.0, _HIGH, _facade(number))
        site.wall(f"right/{number}", (east, -_SIDE), (west, -_SIDE), 0.0, _HIGH, _facade(number + 3))
        site.add(f"ground/{number}", (west, _SIDE, 0.0), (_HOUSE, 0, 0), (0, -2 * _SIDE, 0), _ground, density=_COARSE)
    site.wall("end", (length, _SIDE), (length, -_SIDE), 0.0, _HIGH, _facade(1))
    site.add("sky", (-2000, -2000, 90.0), (4000, 0, 0), (0, 4000, 0), _sky, density=0.3, glowing=True)
    mapped = _drive("map", 6.0, np.arange(0.0, (length - 22.0) / 6.0, 0.2), 0.0)
    visits = tuple(
        _drive(f"{speed:g} m/s", speed, np.arange(images) / RATE_HZ, 0.6, start_m=20.0) for speed in SPEEDS_M_S
    )
    return Place("street", tuple(site.quads), (mapped,), visits)


def _drive(name: str, speed_m_s: float, stamps_s: np.ndarray, aside_m: float, start_m: float = 4.0) -> Way:
    """Along the street in gentle bends, at a speed that varies a little."""
    poses: list[Pose] = []
    for stamp in stamps_s:
        x = start_m + speed_m_s * (stamp + _SURGE * _SURGE_S / (2 * np.pi) * np.sin(2 * np.pi * stamp / _SURGE_S))
        y = aside_m + 0.5 * np.sin(x / 9.0)
        heading = np.arctan(0.5 / 9.0 * np.cos(x / 9.0)) + np.radians(18.0)  # the camera looks a little to the left
        poses.append(look(np.array([x, y, 1.5]), float(heading)))
    return Way(name, np.asarray(stamps_s, np.float64), tuple(poses))


def _facade(number: int) -> Painter:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        color = _WALLS[number % len(_WALLS)]
        small = max(round(h * _COARSE / PIXELS_PER_M), 1), max(round(w * _COARSE / PIXELS_PER_M), 1)
        if number % 3 == 0:
            wall = textures.brick(*small, rng, _COARSE, color)
        else:
            wall = textures.old_wall(*small, rng, _COARSE, color, (150, 92, 74))
        wall = np.asarray(cv2.resize(wall, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
        for x in rng.permutation([0.4, 1.9, 3.4, 4.9])[:3]:
            put(wall, rng, (float(x), float(rng.uniform(0.5, 0.9)), 1.0, 1.3), posters.window, (236, 232, 220))
        shade = tuple(int(value) for value in rng.integers(40, 130, 3))
        left = float(rng.uniform(0.3, 1.2))
        put(wall, rng, (left, 3.2, 2.8, 2.6), posters.shop_front, PIXELS_PER_M, _NAMES[number % len(_NAMES)], shade)
        put(wall, rng, (left + 3.1, 3.6, 1.1, 2.3), posters.door, PIXELS_PER_M, shade, str(number))
        put(wall, rng, (left + 4.4, 3.7, 0.9, 1.2), posters.poster)
        return wall

    return paint


def _ground(h: int, w: int, rng: np.random.Generator) -> Image:
    return textures.paving(h, w, rng, _COARSE, 0.4)


def _sky(h: int, w: int, rng: np.random.Generator) -> Image:
    return textures.clouds(max(h, w), rng, (104, 158, 222), (246, 244, 240), 0.5)
