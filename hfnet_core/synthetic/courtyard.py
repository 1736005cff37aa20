"""A small old town to walk through: a passage into a courtyard with shops, an arcade, a fountain and a market.

World frame: x east, y north, z up, metres; the courtyard spans x 0..11, y 0..9, the passage x 4.3..6.3, y -6.5..0.
The seed decides every texture. `rearranged` is the same place on another day: crates moved, some posters replaced.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from hfnet_core.synthetic import posters, textures
from hfnet_core.synthetic.building import PIXELS_PER_M, Site, boards, put, stone, vector
from hfnet_core.synthetic.rendering import Quad
from hfnet_core.synthetic.textures import Color, Image

__all__ = ["LAMPS", "courtyard"]

LAMPS = ((5.3, -1.4, 2.55), (5.3, -4.4, 2.55), (2.6, 8.0, 2.9), (8.4, 8.0, 2.9))
_WEST, _EAST, _SOUTH, _NORTH, _HEIGHT = 0.0, 11.0, 0.0, 9.0, 4.6
_DOOR_WEST, _DOOR_EAST, _PASSAGE_END, _CEILING = 4.3, 6.3, -6.5, 2.8


def courtyard(seed: int = 0, rearranged: bool = False) -> list[Quad]:
    """All quads, unlit."""
    scene = Site(seed, rearranged)
    for build in (_sky, _ground, _north, _east, _south, _west, _passage):
        build(scene)
    for furnish in (_arcade, _fountain, _market, _clutter, _bunting):
        furnish(scene)
    return scene.quads


def _sky(scene: Site) -> None:
    name = "sky/2" if scene.rearranged else "sky/1"
    zenith, cover = ((126, 150, 186), 0.62) if scene.rearranged else ((104, 158, 222), 0.5)
    scene.add(
        name,
        (-400, -400, 90.0),
        (800, 0, 0),
        (0, 800, 0),
        density=2.0,
        glowing=True,
        paint=lambda h, w, rng: textures.clouds(h, rng, zenith, (246, 244, 240), cover),
    )


def _ground(scene: Site) -> None:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        return textures.paving(h, w, rng, PIXELS_PER_M, 0.34)

    scene.add("ground", (_WEST, _NORTH, 0.0), (_EAST - _WEST, 0, 0), (0, _SOUTH - _NORTH, 0), paint)
    right, down = (_DOOR_EAST - _DOOR_WEST, 0, 0), (0, _PASSAGE_END - _SOUTH, 0)
    scene.add(
        "ground/passage",
        (_DOOR_WEST, _SOUTH, 0.0),
        right,
        down,
        lambda h, w, rng: textures.paving(h, w, rng, PIXELS_PER_M, 0.19),
    )


def _north(scene: Site) -> None:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.old_wall(h, w, rng, PIXELS_PER_M, (206, 120, 88), (150, 92, 74))
        put(wall, rng, (0.7, 2.0, 2.9, 2.6), posters.shop_front, PIXELS_PER_M, "OLD BOOKS", (52, 88, 92))
        put(wall, rng, (4.2, 2.3, 1.05, 2.3), posters.door, PIXELS_PER_M, (150, 62, 50), "12")
        put(wall, rng, (5.7, 2.1, 2.1, 1.6), posters.mural)
        put(wall, rng, (8.2, 2.1, 2.3, 2.5), posters.shop_front, PIXELS_PER_M, "CLOCKS", (112, 60, 48))
        for x in (0.5, 2.3, 4.4, 6.5, 8.7):
            put(wall, rng, (x, 0.25, 0.95, 1.2), posters.window, (236, 232, 220))
        return wall

    scene.wall("north", (_WEST, _NORTH), (_EAST, _NORTH), 0.0, _HEIGHT, paint)


def _east(scene: Site) -> None:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.brick(h, w, rng, PIXELS_PER_M, (166, 84, 60))
        for index, x in enumerate((0.7, 2.5, 4.4, 6.2, 7.8)):
            frame = ((240, 238, 228), (60, 96, 84), (240, 238, 228), (112, 70, 50), (240, 238, 228))[index]
            put(wall, rng, (x, 0.5, 0.85, 1.15), posters.window, frame)
        put(wall, rng, (0.9, 1.85, 2.4, 0.5), posters.sign, "BAKERY", (36, 66, 52), (244, 216, 140))
        put(wall, rng, (0.9, 2.4, 2.4, 2.2), posters.shop_front, PIXELS_PER_M, "FRESH BREAD", (70, 104, 78))
        put(wall, rng, (3.9, 2.35, 1.0, 2.25), posters.door, PIXELS_PER_M, (60, 84, 128), "7")
        put(wall, rng, (5.4, 2.0, 2.6, 1.9), posters.mural)
        return wall

    scene.wall("east", (_EAST, _NORTH), (_EAST, _SOUTH), 0.0, _HEIGHT, paint)


def _posters(
    scene: Site, wall: Image, rng: np.random.Generator, name: str, places: tuple[tuple[float, float], ...]
) -> None:
    """Posters of one size; on another day every third one is new."""
    for index, (x, top) in enumerate(places):
        changed = scene.rearranged and index % 3 == 1
        own = scene.rng(f"{name}/{index}/new") if changed else scene.rng(f"{name}/{index}")
        size = float(own.uniform(0.55, 0.75))
        put(wall, own, (x + float(rng.uniform(0, 0.1)), top, size, 1.4 * size), posters.poster)


def _south(scene: Site) -> None:
    def east_part(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.old_wall(h, w, rng, PIXELS_PER_M, (220, 200, 150), (158, 96, 72))
        for x in (0.5, 2.0, 3.4):
            put(wall, rng, (x, 0.45, 0.9, 1.2), posters.window, (96, 60, 44))
        _posters(scene, wall, rng, "south/east", ((0.4, 2.3), (1.2, 2.5), (2.1, 2.3), (3.0, 2.4), (3.8, 2.3)))
        return wall

    def west_part(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.old_wall(h, w, rng, PIXELS_PER_M, (170, 186, 176), (146, 84, 66))
        put(wall, rng, (0.5, 1.75, 2.5, 0.5), posters.sign, "CAFE LUNA", (120, 40, 44), (246, 226, 180))
        put(wall, rng, (0.5, 2.3, 2.5, 2.3), posters.shop_front, PIXELS_PER_M, "COFFEE", (120, 56, 50))
        put(wall, rng, (0.7, 0.3, 0.9, 1.15), posters.window, (238, 236, 226))
        put(wall, rng, (2.4, 0.3, 0.9, 1.15), posters.window, (238, 236, 226))
        _posters(scene, wall, rng, "south/west", ((3.3, 2.2),))
        return wall

    def lintel(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.brick(h, w, rng, PIXELS_PER_M, (150, 94, 74))
        put(wall, rng, (0.35, 0.8, 1.3, 0.42), posters.sign, "PASSAGE 3", (30, 50, 96), (240, 240, 236))
        return wall

    scene.wall("south/east", (_EAST, _SOUTH), (_DOOR_EAST, _SOUTH), 0.0, _HEIGHT, east_part)
    scene.wall("south/west", (_DOOR_WEST, _SOUTH), (_WEST, _SOUTH), 0.0, _HEIGHT, west_part)
    scene.wall("south/lintel", (_DOOR_EAST, _SOUTH), (_DOOR_WEST, _SOUTH), _CEILING, _HEIGHT, lintel)


def _west(scene: Site) -> None:
    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.old_wall(h, w, rng, PIXELS_PER_M, (196, 170, 120), (140, 80, 62))
        for x in (0.6, 2.4, 4.6, 6.4):
            put(wall, rng, (x, 0.4, 0.95, 1.3), posters.window, (70, 100, 108))
        put(wall, rng, (0.7, 2.35, 1.0, 2.25), posters.door, PIXELS_PER_M, (84, 110, 70), "5")
        _posters(scene, wall, rng, "west", ((2.1, 2.2), (2.9, 2.4), (3.7, 2.2), (4.5, 2.45)))
        put(wall, rng, (5.6, 2.2, 2.7, 1.6), posters.mural)
        return wall

    scene.wall("west", (_WEST, _SOUTH), (_WEST, _NORTH), 0.0, _HEIGHT, paint)


def _passage(scene: Site) -> None:
    def west_side(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.old_wall(h, w, rng, PIXELS_PER_M, (182, 178, 166), (150, 84, 62))
        places = ((1.4, 0.6), (2.2, 0.8), (3.0, 0.55), (3.9, 0.75), (4.7, 0.6), (5.5, 0.7))
        _posters(scene, wall, rng, "passage/west", places)
        return wall

    def east_side(h: int, w: int, rng: np.random.Generator) -> Image:
        wall = textures.brick(h, w, rng, PIXELS_PER_M, (150, 96, 78))
        put(wall, rng, (0.7, 0.6, 0.95, 2.2), posters.door, PIXELS_PER_M, (96, 66, 46), "3A")
        _posters(scene, wall, rng, "passage/east", ((2.0, 0.7), (2.8, 0.55), (3.6, 0.8), (4.5, 0.6)))
        return wall

    def whitewash(h: int, w: int, _: np.random.Generator) -> Image:
        return np.full((h, w, 3), (226, 222, 212), np.uint8)

    west, east, end = _DOOR_WEST, _DOOR_EAST, _PASSAGE_END
    scene.wall("passage/west", (west, end), (west, _SOUTH), 0.0, _CEILING, west_side)
    scene.wall("passage/east", (east, _SOUTH), (east, end), 0.0, _CEILING, east_side)
    scene.wall("passage/end", (east, end), (west, end), 0.0, _CEILING, whitewash)
    scene.add(
        "passage/ceiling",
        (west, end, _CEILING),
        (east - west, 0, 0),
        (0, _SOUTH - end, 0),
        boards((120, 84, 56), 0.16, upright=True),
    )


def _arcade(scene: Site) -> None:
    south, low, high = 7.5, 3.05, 3.4
    for index, x in enumerate((0.5, 3.0, 5.5, 8.0, 10.5)):
        scene.box(f"arcade/foot/{index}", (x, south + 0.2), (0.56, 0.56), 0.0, 0.35, stone((160, 150, 136)))
        scene.box(f"arcade/pillar/{index}", (x, south + 0.2), (0.38, 0.38), 0.35, low, stone())
    scene.wall("arcade/front", (_WEST, south), (_EAST, south), low, high, boards((128, 84, 54), 0.17))
    scene.add("arcade/below", (_WEST, south, low), (_EAST, 0, 0), (0, _NORTH - south, 0), boards((140, 104, 70), 0.15))
    scene.add(
        "arcade/roof",
        (_WEST, _NORTH, high + 0.5),
        (_EAST, 0, 0),
        (0, south - _NORTH, -0.5),
        lambda h, w, rng: textures.roof(h, w, rng, PIXELS_PER_M),
    )


def _fountain(scene: Site) -> None:
    centre, radius = np.array([5.5, 4.4]), 1.05
    ring = [centre + radius * np.array([np.cos(a), np.sin(a)]) for a in np.deg2rad(22.5 + 45.0 * np.arange(9))]
    for index in range(8):
        left, right = ring[index], ring[index + 1]
        scene.wall(f"fountain/{index}", (left[0], left[1]), (right[0], right[1]), 0.0, 0.62, stone((176, 168, 156)))

    def water(h: int, w: int, rng: np.random.Generator) -> Image:
        ripple = textures.fractal(h, w, rng, 40.0, 5)[..., None]
        return textures.to_image((0.55 + 0.6 * ripple) * np.array((96, 130, 138), np.float32))

    side = 2 * radius * np.cos(np.pi / 8) * 0.92
    corner = centre + np.array([-side / 2, side / 2])
    scene.add("fountain/water", (*corner, 0.5), (side, 0, 0), (0, -side, 0), water)
    scene.box("fountain/column", (5.5, 4.4), (0.42, 0.42), 0.4, 1.7, stone((170, 150, 124)), yaw_deg=30)
    scene.box("fountain/bowl", (5.5, 4.4), (0.8, 0.8), 1.7, 1.9, stone((190, 180, 160)), yaw_deg=30)
    scene.box("fountain/spire", (5.5, 4.4), (0.2, 0.2), 1.9, 2.6, stone((160, 140, 120)), yaw_deg=55)


def _market(scene: Site) -> None:
    def fruit(h: int, w: int, rng: np.random.Generator) -> Image:
        return posters.market_goods(h, w, rng)

    for index, (x, y, yaw) in enumerate(((9.3, 2.0, 90.0), (2.1, 2.2, -60.0))):
        angle = np.deg2rad(yaw)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        scene.box(f"market/{index}", (x, y), (2.0, 0.8), 0.0, 0.85, boards((136, 92, 58), 0.11), fruit, yaw)
        for post in (-0.95, 0.95):
            foot = np.array([x, y]) + post * along + 0.45 * across
            wood = boards((90, 66, 46), 0.07)
            scene.box(f"market/{index}/post/{post}", (foot[0], foot[1]), (0.07, 0.07), 0.0, 2.35, wood)
        start = np.array([x, y]) - 1.1 * along + 0.55 * across
        first, second = (((196, 52, 44), (240, 232, 212)), ((40, 92, 120), (244, 226, 180)))[index]
        scene.add(
            f"market/{index}/awning",
            (*start, 2.45),
            (*(2.2 * along), 0.0),
            (*(-1.3 * across), -0.5),
            partial(textures.cloth, first=first, second=second, stripes=11),
            two_sided=True,
        )


def _clutter(scene: Site) -> None:
    """Crates, a bench, a notice board. Crates have been moved on another day."""
    first = ((0.7, 4.6, 12), (0.75, 5.5, -20), (9.9, 6.4, 30), (7.2, 0.5, 8))
    moved = ((1.5, 5.3, 50), (0.7, 5.9, 5), (9.2, 6.7, -10), (7.9, 0.6, -15))
    for index, (x, y, yaw) in enumerate(moved if scene.rearranged else first):
        size = 0.55 + 0.07 * index
        scene.box(f"crate/{index}", (x, y), (size, size), 0.0, size, boards((168, 126, 80), 0.11), yaw_deg=yaw)
    scene.box("bench", (8.3, 5.0), (0.42, 1.6), 0.38, 0.46, boards((120, 72, 48), 0.09, upright=True), yaw_deg=15)
    for index, offset in enumerate((-0.6, 0.6)):
        place = (8.3 - 0.26 * offset, 5.0 + offset)
        scene.box(f"bench/leg/{index}", place, (0.4, 0.08), 0.0, 0.38, stone((110, 108, 106)), yaw_deg=15)

    def notices(h: int, w: int, rng: np.random.Generator) -> Image:
        board = textures.planks(h, w, rng, PIXELS_PER_M, (104, 76, 52), 0.1)
        for x in (0.04, 0.52, 1.0):
            put(board, rng, (x, 0.07, 0.45, 0.72), posters.poster)
        return board

    for name, left, right in (("south", (1.75, 5.65), (3.2, 6.05)), ("north", (3.2, 6.09), (1.75, 5.69))):
        scene.wall(f"board/{name}", left, right, 0.85, 1.75, notices)
    for index, (x, y) in enumerate(((1.8, 5.685), (3.15, 6.055))):
        scene.box(f"board/post/{index}", (x, y), (0.08, 0.08), 0.0, 1.9, boards((90, 66, 46), 0.06), yaw_deg=15)


def _bunting(scene: Site) -> None:
    """Flags on two lines across the yard."""
    colors: tuple[Color, ...] = ((206, 60, 52), (240, 190, 70), (52, 110, 140), (238, 232, 216), (96, 140, 84))
    for line, (start, end) in enumerate((((0.0, 1.5, 3.6), (11.0, 4.5, 3.7)), ((0.0, 6.5, 3.7), (11.0, 2.0, 3.6)))):
        a, b = vector(start), vector(end)
        for index, t in enumerate(np.linspace(0.06, 0.9, 12)):
            at = a + t * (b - a) - (0, 0, 0.9 * t * (1 - t))
            first, second = colors[(index + line) % 5], colors[(index + line + 2) % 5]
            paint = partial(textures.cloth, first=first, second=second, stripes=1 + index % 4)
            right = 0.3 * (b - a) / np.linalg.norm(b - a)
            scene.add(f"bunting/{line}/{index}", at, right, (0, 0, -0.38), paint, density=120.0, two_sided=True)
