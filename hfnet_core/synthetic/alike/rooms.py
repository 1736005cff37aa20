"""Two rooms of one plan, furnished alike, on a corridor that differs from end to end.

World frame: x east, y north, z up, metres. The first room spans x 0..6, y 0..5, the second 9 m east of it; the corridor
lies south of both.
"""

from __future__ import annotations

import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.synthetic import posters
from hfnet_core.synthetic.alike.place import Place, Way, floor_and_ceiling, moved, plastered, walked
from hfnet_core.synthetic.building import PIXELS_PER_M, Site, boards, brick, put
from hfnet_core.synthetic.rendering import Quad
from hfnet_core.synthetic.textures import Image, plaster
from hfnet_core.synthetic.walk import Path

__all__ = ["APART_M", "furnished_room", "two_rooms"]

APART_M = 9.0
_WIDE, _LONG, _HIGH = 6.0, 5.0, 2.8
_DOOR = (2.5, 3.5, 2.1)  # west, east, top
_WEST, _EAST, _SOUTH = -1.5, 16.5, -2.2
_Way = tuple[tuple[float, float, float], ...]

_ROUND: _Way = (  # through a room clockwise, looking at its walls: x, y, heading
    (3.0, -0.3, 90), (2.6, 0.9, 105), (1.5, 1.3, 140), (1.2, 2.6, 170), (1.3, 3.8, 120), (2.6, 4.2, 80),
    (3.9, 4.1, 30), (4.6, 3.2, -15), (4.7, 2.2, -50), (4.2, 1.5, -80), (3.3, 1.5, -100), (3.0, 0.4, -90),
)  # fmt: skip
_OUT: _Way = (  # from the north of a room, round it and out
    (3.3, 4.2, 95), (2.2, 4.1, 130), (1.6, 3.2, 175), (1.5, 2.2, 215), (2.0, 1.9, 260), (2.7, 1.9, 300),
    (3.1, 1.9, 330), (3.1, 1.7, 290), (3.0, 1.0, 270), (3.0, 0.0, 268), (3.1, -0.8, 300), (3.9, -1.1, 350),
    (5.2, -1.1, 360),
)  # fmt: skip


def two_rooms(seed: int = 0) -> Place:
    """A pass and a visit of each."""
    site = Site(seed, rearranged=False)
    _corridor(site)
    east = Pose(translation=np.array([APART_M, 0.0, 0.0]))
    room = furnished_room(seed)
    first = _pass("first", ((-1.0, -1.1, 0), (1.5, -1.2, 10), (2.7, -1.0, 60)), ((3.4, -1.0, -40), (5.5, -1.1, 0)), 0.0)
    second = _pass(
        "second",
        ((5.2, -1.1, 0), (8.0, -1.0, -20), (10.5, -1.1, 10), (11.7, -1.0, 60)),
        ((12.4, -1.0, -40), (15.5, -1.1, 0)),
        APART_M,
    )
    visits = (
        walked("from the first", Path(_OUT, 0.7, 45.0, 1.42, phase=0.7), 0.5, (east,)),
        walked("from the second", Path(_shifted(_OUT, APART_M), 0.7, 45.0, 1.42, phase=2.1), 0.5, (east.inverse(),)),
    )
    return Place("two rooms", (*site.quads, *room, *moved(room, east)), (first, second), visits)


def _shifted(way: _Way, metres: float) -> _Way:
    return tuple((x + metres, y, heading) for x, y, heading in way)


def _pass(name: str, before: _Way, after: _Way, room_m: float) -> Way:
    """Along the corridor into a room, round it, and out again."""
    way = (*before, *_shifted(_ROUND, room_m), *after)
    return walked(name, Path(way, 0.9, 50.0, 1.55), 0.4)


def furnished_room(seed: int) -> list[Quad]:
    """Walls, a door's opening, a table, a shelf and a chest."""
    site = Site(seed, rearranged=False)

    def north(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = plaster(h, w, rng, PIXELS_PER_M, (206, 196, 170))
        put(wall, rng, (0.4, 0.7, 1.2, 1.2), posters.window, (236, 232, 220))
        put(wall, rng, (2.2, 0.6, 2.0, 1.3), posters.mural)
        put(wall, rng, (4.7, 0.8, 0.8, 1.1), posters.poster)
        return wall

    west, east, door_top = _DOOR
    site.wall("north", (0.0, _LONG), (_WIDE, _LONG), 0.0, _HIGH, north)
    site.wall(
        "east", (_WIDE, _LONG), (_WIDE, 0.0), 0.0, _HIGH, plastered((186, 200, 190), ((0.5, 0.7, 0.7), (3.6, 0.8, 0.8)))
    )
    site.wall(
        "west",
        (0.0, 0.0),
        (0.0, _LONG),
        0.0,
        _HIGH,
        plastered((214, 190, 150), ((0.6, 0.8, 0.7), (1.8, 0.6, 0.8), (3.4, 0.7, 0.7))),
    )
    site.wall(
        "south/east",
        (_WIDE, 0.0),
        (east, 0.0),
        0.0,
        _HIGH,
        plastered((196, 190, 204), ((0.5, 0.8, 0.7), (1.5, 0.7, 0.7))),
    )
    site.wall(
        "south/west",
        (west, 0.0),
        (0.0, 0.0),
        0.0,
        _HIGH,
        plastered((196, 190, 204), ((0.4, 0.6, 0.8), (1.5, 0.8, 0.7))),
    )
    site.wall("south/lintel", (east, 0.0), (west, 0.0), door_top, _HIGH, plastered((196, 190, 204), ()))
    floor_and_ceiling(site, "room", (0.0, _LONG), (_WIDE, _LONG), _HIGH)
    site.box("table", (3.0, 3.0), (1.2, 0.7), 0.0, 0.75, boards((128, 84, 54)), posters.market_goods)
    site.box("shelf", (5.7, 2.3), (0.5, 1.5), 0.0, 1.7, boards((110, 92, 74), 0.3))
    site.box("chest", (0.5, 4.5), (0.7, 0.6), 0.0, 0.7, boards((96, 110, 84), 0.2), yaw_deg=10.0)
    return site.quads


def _corridor(site: Site) -> None:
    west, east, door_top = _DOOR
    openings = ((west, east), (west + APART_M, east + APART_M))
    starts = (_WEST, *(end for _, end in openings))
    ends = (*(start for start, _ in openings), _EAST)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        places = tuple((float(x), 0.7, 0.7) for x in np.arange(0.5, end - start - 0.8, 1.6))
        site.wall(f"north/{number}", (start, 0.0), (end, 0.0), 0.0, _HIGH, plastered((216, 206, 186), places))
    for number, (start, end) in enumerate(openings):
        site.wall(f"north/lintel/{number}", (start, 0.0), (end, 0.0), door_top, _HIGH, brick())

    def south(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = plaster(h, w, rng, PIXELS_PER_M, (176, 190, 200))
        for x in np.arange(0.6, _EAST - _WEST - 1.0, 1.5):
            put(wall, rng, (float(x), 0.6, float(rng.uniform(0.7, 0.9)), 1.1), posters.poster)
        return wall

    site.wall("south", (_EAST, _SOUTH), (_WEST, _SOUTH), 0.0, _HIGH, south)
    site.wall("west", (_WEST, _SOUTH), (_WEST, 0.0), 0.0, _HIGH, brick((150, 94, 74)))
    site.wall("east", (_EAST, 0.0), (_EAST, _SOUTH), 0.0, _HIGH, boards((120, 140, 110)))
    floor_and_ceiling(site, "corridor", (_WEST, 0.0), (_EAST - _WEST, -_SOUTH), _HIGH)
