"""Rendered rooms by day and by night: the same place from two poses, its lamps switched, with exact correspondences.

No photo of the pool was taken at night; light baked into a rendered room falls, fades and throws shadows as lamps do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hfnet_core.files import make_folder, whole_file
from hfnet_core.geometry import Array, Pose
from hfnet_core.projection import project, rays_of
from hfnet_core.synthetic.lighting import Lamp, Lighting, bake
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.training.data.pair_matches import pair_file
from hfnet_core.training.data.pool import Photo, Pool
from hfnet_core.training.data.rooms import Room, pose_near
from hfnet_core.types import Camera

__all__ = ["DayNight", "render_day_night", "with_rooms"]

_SIZE = (512, 384)
_STEP_PX = 8  # between points that are looked for in the other view
_SAME_DEPTH = 0.02  # relative: a point further behind is hidden
_FEWEST = 60  # points of the grid that a pair of views shares
_CORNERS, _APART_PX = 800, 5  # correspondences are corners of the image by day: on bare walls there is nothing to learn
_FEWEST_CORNERS = 30
_TRIES = 12  # poses tried for the second view
_NEAR_M = 0.7  # a view whose middle depth is less faces a wall
_OVERHEAD_M = 0.25  # lamps hang below the ceiling
_LICENCE = "rendered from the pool's photos"


_View = tuple[Pose, NDArray[np.float32]]
"""map_from_camera, and the depth [H, W] of its pixels in metres."""


class DayNight(NamedTuple):
    """day, night: gray images [H, W] uint8 from two poses. first, second: [M, 2] the same points in both, float32."""

    day: NDArray[np.uint8]
    night: NDArray[np.uint8]
    first: NDArray[np.float32]
    second: NDArray[np.float32]


def with_rooms(
    pool: Pool, folder: Path, rooms: int, seed: int, report: Callable[[int, int], None] = lambda done, total: None
) -> Pool:
    """The pool with a pair of views for each of so many rooms; views and matches are written to `folder`.

    Rooms that have their files are left alone, so a killed pass goes on. Matches are read by `read_pair_matches`. A
    room whose views share too little is left out.
    """
    make_folder(folder)
    photos, pairs = list(pool.photos), list(pool.pairs)
    for number in range(rooms):
        names = [f"rooms/{number:04d}_{light}.png" for light in ("day", "night")]
        added = [Photo(name, folder / Path(name).name, f"rooms/{number:04d}", _LICENCE) for name in names]
        both = Pool((*photos, *added), ())
        path = pair_file(folder, both, len(photos), len(photos) + 1)
        if not path.is_file():
            _write(render_day_night(pool, np.random.default_rng((seed, 4, number))), added, path)
        report(number + 1, rooms)
        if all(photo.path.is_file() for photo in added):
            pairs.append((len(photos), len(photos) + 1))
            photos += added
    return Pool(tuple(photos), tuple(pairs))


def _write(found: DayNight | None, photos: list[Photo], path: Path) -> None:
    nothing = np.zeros((0, 2), np.float32)
    if found is not None:
        for photo, image in zip(photos, (found.day, found.night), strict=True):
            with whole_file(photo.path) as temporary:
                temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    first, second = (nothing, nothing) if found is None else (found.first, found.second)
    with whole_file(path) as temporary:  # last: it says that the room is done
        np.savez(temporary, first=first, second=second)


def render_day_night(pool: Pool, rng: Generator) -> DayNight | None:
    """A random room papered with photos of the pool, seen by day and, from another pose, with some lamps on at night.

    None where no second view that shares enough with the first was found.
    """
    width, height = _SIZE
    size = np.array([*rng.uniform(3.0, 8.0, 2), rng.uniform(2.3, 3.5)])
    focal = rng.uniform(0.75, 1.1) * width
    camera = Camera("PINHOLE", width, height, (focal, focal, (width - 1) / 2, (height - 1) / 2))
    quads = Room(pool, rng, size).quads
    plain = Renderer(camera, quads, oversampling=1)
    place, yaw = rng.uniform(0.6, size[:2] - 0.6), rng.uniform(-np.pi, np.pi)
    views = _two_views(plain, camera, lambda: pose_near(rng, size, place, yaw))
    if views is None:
        return None
    (day_pose, day_depth), (night_pose, night_depth) = views
    lamps = [_lamp(rng, size) for _ in range(int(rng.integers(2, 6)))]
    on = lamps[: int(rng.integers(1, len(lamps)))]
    day = Lighting((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (rng.uniform(2.0, 4.0),) * 3, tuple(lamps))
    night = Lighting((0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (rng.uniform(0.01, 0.15),) * 3, tuple(on))
    images = []
    for lighting, pose in ((day, day_pose), (night, night_pose)):
        lit = Renderer(camera, bake(quads, lighting, seed=0), oversampling=2)
        images.append(cv2.cvtColor(lit.render(pose), cv2.COLOR_RGB2GRAY))
    corners = cv2.goodFeaturesToTrack(images[0], _CORNERS, 0.01, _APART_PX)
    if corners is None:
        return None
    first, second = _shared(camera, (day_pose, day_depth), (night_pose, night_depth), corners.reshape(-1, 2))
    return DayNight(images[0], images[1], first, second) if len(first) >= _FEWEST_CORNERS else None


def _lamp(rng: Generator, size: Array) -> Lamp:
    x, y = rng.uniform(0.4, size[:2] - 0.4)
    return Lamp((float(x), float(y), float(size[2] - _OVERHEAD_M)), (float(rng.uniform(1.0, 4.0)),) * 3)


def _two_views(renderer: Renderer, camera: Camera, draw: Callable[[], Pose]) -> tuple[_View, _View] | None:
    """Two views that share enough."""
    x, y = np.meshgrid(np.arange(4, camera.width - 4, _STEP_PX), np.arange(4, camera.height - 4, _STEP_PX))
    grid = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    views: list[_View] = []
    for _ in range(_TRIES):
        pose = draw()
        depth = renderer.depth_m(pose)
        if np.median(depth) < _NEAR_M or (depth <= 0).any():
            continue
        for other in views:
            if len(_shared(camera, other, (pose, depth), grid)[0]) >= _FEWEST:
                return other, (pose, depth)
        views.append((pose, depth))
    return None


def _shared(
    camera: Camera, one: _View, other: _View, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Those of whole pixels [N, 2] in one view that nothing hides from the other, and where it sees the same points."""
    rays = rays_of(camera, pixels)
    points_camera = rays / rays[:, 2:] * one[1][pixels[:, 1].astype(int), pixels[:, 0].astype(int)][:, None]
    points = one[0].apply(points_camera)
    there, visible = project(points, other[0], camera)
    expected = other[0].inverse().apply(points)[:, 2]
    rows, columns = np.rint(np.where(visible[:, None], there, 0.0)).astype(int)[:, ::-1].T
    inside = visible & (rows >= 0) & (rows < camera.height) & (columns >= 0) & (columns < camera.width)
    seen = other[1][np.where(inside, rows, 0), np.where(inside, columns, 0)]
    both = inside & (np.abs(seen - expected) < _SAME_DEPTH * expected)
    return pixels[both], there[both].astype(np.float32)
