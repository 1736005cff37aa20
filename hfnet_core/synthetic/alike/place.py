"""What a place of look-alikes is made of: quads, passes that map it, visits of another day, and where it repeats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.synthetic.building import PIXELS_PER_M, Painter, Site, put
from hfnet_core.synthetic.posters import poster
from hfnet_core.synthetic.rendering import Quad, Renderer
from hfnet_core.synthetic.textures import Image, planks, plaster
from hfnet_core.synthetic.walk import Path

__all__ = ["Place", "Way", "floor_and_ceiling", "moved", "plastered", "told_apart", "walked"]

_LEVELS = 16  # gray levels by which a pixel must differ to be seen


@dataclass(frozen=True, eq=False)
class Way:
    """A camera's way, image by image.

    stamps_s: [N]. poses: N of map_from_camera. doubles: motions of the map after which the place looks the same from
    here, apart from what is to tell them apart.
    """

    name: str
    stamps_s: Array = field(repr=False)
    poses: tuple[Pose, ...] = field(repr=False)
    doubles: tuple[Pose, ...] = ()


@dataclass(frozen=True, eq=False)
class Place:
    """quads: the world, unlit. passes: what the map is made of. visits: the queries, each a drive of its own."""

    name: str
    quads: tuple[Quad, ...] = field(repr=False)
    passes: tuple[Way, ...]
    visits: tuple[Way, ...]


def walked(name: str, path: Path, step_s: float, doubles: Sequence[Pose] = ()) -> Way:
    """An image every `step_s` seconds of a walk."""
    stamps_s = np.arange(0.0, path.duration_s, step_s)
    return Way(name, stamps_s, tuple(path.at(float(stamp)) for stamp in stamps_s), tuple(doubles))


def moved(quads: Iterable[Quad], there_from_here: Pose) -> list[Quad]:
    """The same quads, textures and all, somewhere else."""
    turn = there_from_here.rotation
    return [
        replace(
            quad,
            origin=there_from_here.apply(quad.origin[None])[0],
            right=turn @ quad.right,
            down=turn @ quad.down,
        )
        for quad in quads
    ]


def told_apart(renderer: Renderer, map_from_camera: Pose, doubles: Sequence[Pose]) -> float:
    """Share of an image's pixels, 0..1, that look otherwise from the double most like it; 1 without doubles."""
    if not doubles:
        return 1.0
    shown = renderer.render(map_from_camera).astype(np.int16)
    others = (renderer.render(double @ map_from_camera) for double in doubles)
    return min(float((np.abs(other - shown).max(axis=2) > _LEVELS).mean()) for other in others)


def plastered(wall: tuple[int, int, int], places: Sequence[tuple[float, float, float]]) -> Painter:
    """A painter of a plain wall with posters. places: left, top, width of each in metres."""

    def paint(h: int, w: int, rng: np.random.Generator) -> Image:
        image = plaster(h, w, rng, PIXELS_PER_M, wall)
        for left, top, width in places:
            put(image, rng, (left, top, width, 1.4 * width), poster)
        return image

    return paint


def floor_and_ceiling(
    site: Site, name: str, west_north: tuple[float, float], size: tuple[float, float], high: float
) -> None:
    """Boards below, plaster above. size: along x and y, metres."""
    (west, north), (across, along) = west_north, size
    site.add(
        f"{name}/floor",
        (west, north, 0.0),
        (across, 0, 0),
        (0, -along, 0),
        lambda h, w, rng: planks(h, w, rng, PIXELS_PER_M, (150, 118, 84), 0.16),
    )
    site.add(
        f"{name}/ceiling", (west, north - along, high), (across, 0, 0), (0, along, 0), plastered((226, 222, 212), ())
    )
