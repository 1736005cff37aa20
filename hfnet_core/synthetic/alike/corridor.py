"""A corridor of identical doors, with something of its own at one end.

World frame: x along the corridor, y to its left, z up, metres; doors every 3 m on both sides, y -1.1 and 1.1.
"""

from __future__ import annotations

import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.synthetic import posters
from hfnet_core.synthetic.alike.place import Place, floor_and_ceiling, moved, plastered, walked
from hfnet_core.synthetic.building import PIXELS_PER_M, Painter, Site, boards, put
from hfnet_core.synthetic.textures import Image, plaster
from hfnet_core.synthetic.walk import Path

__all__ = ["corridor_of_doors"]

_PERIOD, _DOORS, _SIDE, _HIGH = 3.0, 7, 1.1, 2.7


def corridor_of_doors(seed: int = 0) -> Place:
    """Doors, posters, boards: the same every 3 m. A shop and a chest at the far end."""
    length = _PERIOD * _DOORS
    door = Site(seed, rearranged=False)
    door.wall("left", (0.0, _SIDE), (_PERIOD, _SIDE), 0.0, _HIGH, _side((96, 66, 46), (206, 196, 176)))
    door.wall("right", (_PERIOD, -_SIDE), (0.0, -_SIDE), 0.0, _HIGH, _side((60, 84, 128), (190, 200, 190)))
    floor_and_ceiling(door, "door", (0.0, _SIDE), (_PERIOD, 2 * _SIDE), _HIGH)
    ends = Site(seed, rearranged=False)

    def shop(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = plaster(h, w, rng, PIXELS_PER_M, (214, 190, 146))
        put(wall, rng, (0.1, 0.3, 2.0, 2.2), posters.shop_front, PIXELS_PER_M, "OLD BOOKS", (52, 88, 92))
        return wall

    ends.wall("far", (length, _SIDE), (length, -_SIDE), 0.0, _HIGH, shop)
    ends.wall("near", (0.0, -_SIDE), (0.0, _SIDE), 0.0, _HIGH, plastered((200, 190, 180), ()))
    ends.box("chest", (length - 0.5, 0.6), (0.6, 0.6), 0.0, 0.9, boards((168, 126, 80), 0.11), yaw_deg=20.0)
    steps = [Pose(translation=np.array([_PERIOD * number, 0.0, 0.0])) for number in range(_DOORS)]
    quads = [quad for step in steps for quad in moved(door.quads, step)]
    there = ((0.6, 0.0, 40), (3.0, 0.1, 50), (length / 2, 0.0, 45), (length - 3.0, -0.1, 40), (length - 1.6, 0.0, 0))
    back = ((length - 1.6, 0.0, -10), (length - 3.0, -0.1, -45), (length / 2, 0.1, -50), (0.6, 0.0, -40))
    passes = (
        walked("left side", Path(there, 0.9, 40.0, 1.55), 0.45),
        walked("right side", Path(back, 0.9, 40.0, 1.6), 0.45),
    )
    doubles = (steps[1], steps[1].inverse())
    visits = (
        walked(
            "to the far end",
            Path(((8.0, 0.05, 35), (13.0, 0.1, 50), (17.0, 0.0, 40), (19.2, 0.0, -5)), 0.8, 40.0, 1.45),
            0.5,
            doubles,
        ),
        walked(
            "to the near end",
            Path(((11.5, 0.05, 48), (7.0, 0.1, 40), (2.5, 0.0, 50)), 0.8, 40.0, 1.5, phase=1.0),
            0.5,
            doubles,
        ),
    )
    return Place("corridor of doors", (*quads, *ends.quads), passes, visits)


def _side(wood: tuple[int, int, int], wall: tuple[int, int, int]) -> Painter:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        image = plaster(h, w, rng, PIXELS_PER_M, wall)
        put(image, rng, (1.0, 0.6, 1.0, 2.1), posters.door, PIXELS_PER_M, wood, "IN")
        put(image, rng, (0.2, 0.8, 0.6, 0.85), posters.poster)
        put(image, rng, (2.2, 0.9, 0.55, 0.8), posters.poster)
        return image

    return paint
