"""Four floors of one plan: the same landing with the same posters, told apart by what hangs beside the lift:
a number and a picture.

World frame: x east, y north, z up, metres; each floor spans x 0..7, y 0..4.5 and lies 3 m above the one below.
"""

from __future__ import annotations

import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.synthetic import posters
from hfnet_core.synthetic.alike.place import Place, floor_and_ceiling, moved, plastered, walked
from hfnet_core.synthetic.building import PIXELS_PER_M, Painter, Site, boards, put, stone
from hfnet_core.synthetic.rendering import Quad
from hfnet_core.synthetic.textures import Image, plaster
from hfnet_core.synthetic.walk import Path

__all__ = ["four_floors"]

_FLOORS, _STOREY, _HIGH = 4, 3.0, 2.7
_WIDE, _LONG = 7.0, 4.5
_COLORS = ((30, 60, 110), (120, 40, 44), (40, 92, 60), (150, 96, 30))
_NAMES = ("FLOOR 1", "FLOOR 2", "FLOOR 3", "FLOOR 4")
_ROUND = (
    (1.2, 1.2, 60), (1.4, 2.4, 110), (2.6, 3.0, 80), (4.2, 3.0, 60), (5.4, 2.8, 20), (5.5, 1.7, -10), (4.8, 1.3, -80),
    (3.0, 1.4, -110), (1.8, 1.8, -160), (1.6, 2.2, -200),
)  # fmt: skip
_ASKED = (
    (1.5, 1.6, 70), (2.4, 2.6, 95), (3.8, 2.6, 70), (5.0, 2.5, 25), (5.6, 1.6, -5), (4.8, 1.6, -60), (3.4, 1.8, -100),
)  # fmt: skip


def four_floors(seed: int = 0) -> Place:
    """Each floor a recording of its own; two of them are visited."""
    floors = [Pose(translation=np.array([0.0, 0.0, _STOREY * number])) for number in range(_FLOORS)]
    quads = [quad for number, up in enumerate(floors) for quad in moved(_floor(seed, number), up)]
    passes = tuple(
        walked(name, Path(_ROUND, 0.9, 50.0, 1.55 + _STOREY * number, phase=0.5 * number), 0.45)
        for number, name in enumerate(_NAMES)
    )
    visits = tuple(
        walked(
            _NAMES[number],
            Path(_ASKED, 0.7, 40.0, 1.45 + _STOREY * number, phase=1.0 + number),
            0.5,
            [other @ floors[number].inverse() for other in floors if other is not floors[number]],
        )
        for number in (0, 2)
    )
    return Place("four floors", tuple(quads), passes, visits)


def _floor(seed: int, number: int) -> list[Quad]:
    site = Site(seed, rearranged=False)
    site.wall("north", (0.0, _LONG), (_WIDE, _LONG), 0.0, _HIGH, _north)
    site.wall("east", (_WIDE, _LONG), (_WIDE, 0.0), 0.0, _HIGH, _lift(_NAMES[number], _COLORS[number]))
    posters_south = ((0.6, 0.7, 0.7), (2.0, 0.6, 0.8), (3.4, 0.8, 0.7), (5.2, 0.7, 0.8))
    site.wall("south", (_WIDE, 0.0), (0.0, 0.0), 0.0, _HIGH, plastered((186, 196, 206), posters_south))
    site.wall(
        "west", (0.0, 0.0), (0.0, _LONG), 0.0, _HIGH, plastered((214, 196, 160), ((0.5, 0.6, 0.8), (2.9, 0.7, 0.7)))
    )
    floor_and_ceiling(site, "landing", (0.0, _LONG), (_WIDE, _LONG), _HIGH)
    site.box("bench", (3.3, 4.1), (1.6, 0.45), 0.0, 0.45, boards((128, 84, 54)))
    site.box("pillar", (0.6, 3.9), (0.4, 0.4), 0.0, _HIGH, stone((170, 160, 146)))
    return site.quads


def _north(h: int, w: int, rng: np.random.Generator) -> Image:
    wall = plaster(h, w, rng, PIXELS_PER_M, (206, 200, 186))
    put(wall, rng, (0.9, 0.5, 1.1, 1.3), posters.window, (236, 232, 220))
    put(wall, rng, (2.4, 0.5, 1.9, 1.2), posters.mural)
    put(wall, rng, (4.8, 0.6, 1.0, 2.1), posters.door, PIXELS_PER_M, (112, 60, 48), "WC")
    return wall


def _lift(name: str, color: tuple[int, int, int]) -> Painter:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = plaster(h, w, rng, PIXELS_PER_M, (196, 190, 176))
        put(wall, rng, (0.5, 0.6, 1.3, 2.1), posters.door, PIXELS_PER_M, (120, 124, 130), "LIFT")
        own = np.random.default_rng(list(name.encode()))
        put(wall, own, (2.4, 0.2, 1.2, 0.45), posters.sign, name, color, (240, 240, 236))
        put(wall, own, (1.95, 0.75, 2.2, 1.5), posters.mural)
        return wall

    return paint
