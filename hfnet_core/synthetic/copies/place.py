"""A corner of the courtyard, photographed for a map and again as queries, with what a survey would know of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose
from hfnet_core.synthetic.courtyard import courtyard
from hfnet_core.synthetic.rendering import Quad, Renderer
from hfnet_core.synthetic.textures import Image
from hfnet_core.synthetic.walk import MAP_PASS
from hfnet_core.types import Camera

__all__ = ["RenderedPlace", "View", "render_place"]

_FROM_S, _TO_S = 10.0, 14.0  # of the walk of the map
_GRID = (12, 9)  # points taken from each view
_SAME_DEPTH = 0.02  # share, of one point seen by two views
_NIGHT = 0.35  # of the light


@dataclass(frozen=True, eq=False)
class View:
    """A rendered image, RGB, and its pose."""

    image: Image
    map_from_camera: Pose


@dataclass(frozen=True, eq=False)
class RenderedPlace:
    """camera: of all views. points: [P, 3]. seen: point, view and pixel of each measurement, views of the map only."""

    camera: Camera
    map_views: tuple[View, ...]
    query_views: tuple[View, ...]
    points: Array
    seen: tuple[tuple[int, int, tuple[float, float]], ...]


def render_place(camera: Camera, map_views: int = 12, query_views: int = 4, start_s: float = _FROM_S) -> RenderedPlace:
    """Everything follows from the arguments. start_s: where on the walk; another one is another place.

    camera: PINHOLE or OPENCV. Every second query is taken at night.
    """
    renderer = Renderer(camera, _courtyard())
    times = np.linspace(start_s, start_s + _TO_S - _FROM_S, map_views)
    poses = [MAP_PASS.path.at(float(time_s)) for time_s in times]
    views = tuple(View(renderer.render(pose), pose) for pose in poses)
    gap_s = times[1] - times[0]
    asked = np.linspace(times[2] + 0.5 * gap_s, times[-3] + 0.4 * gap_s, query_views)
    queries = []
    for number, time_s in enumerate(asked):
        pose = _beside(MAP_PASS.path.at(float(time_s)), number)
        image = renderer.render(pose)
        queries.append(View(image if number % 2 == 0 else _at_night(image), pose))
    depths = [renderer.depth_m(pose) for pose in poses]
    points, seen = _tracks(camera, poses, depths)
    return RenderedPlace(camera, views, tuple(queries), points, seen)


@cache
def _courtyard() -> list[Quad]:
    return courtyard()


def _beside(pose: Pose, number: int) -> Pose:
    """Not quite where the map's photographer stood."""
    turned = Rotation.from_euler("yx", ((-1) ** number * 4.0, 1.5), degrees=True).as_matrix()
    return pose @ Pose(turned, np.array([0.1 * (-1) ** number, 0.06, 0.05]))


def _at_night(image: Image) -> Image:
    dark: Image = (image * np.array([0.9, 0.95, 1.0]) * _NIGHT).astype(np.uint8)
    return dark


def _tracks(
    camera: Camera, poses: Sequence[Pose], depths: Sequence[NDArray[np.float32]]
) -> tuple[Array, tuple[tuple[int, int, tuple[float, float]], ...]]:
    """Points on a grid of each view, and every view that sees them, by depth; lens distortion is left out."""
    fx, fy, cx, cy = camera.params[:4]
    columns = np.linspace(0.1, 0.9, _GRID[0]) * (camera.width - 1)
    rows = np.linspace(0.1, 0.9, _GRID[1]) * (camera.height - 1)
    pixels = np.rint(np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)).astype(int)
    points: list[Array] = []
    seen: list[tuple[int, int, tuple[float, float]]] = []
    for pose, depth in zip(poses, depths, strict=True):
        z = depth[pixels[:, 1], pixels[:, 0]]
        rays = np.column_stack([(pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy, np.ones(len(pixels))])
        world = pose.apply(rays[z > 0] * z[z > 0, None])
        first = sum(len(part) for part in points)
        points.append(world)
        for view, (other, known) in enumerate(zip(poses, depths, strict=True)):
            local = other.inverse().apply(world)
            at = local[:, :2] / local[:, 2:] * (fx, fy) + (cx, cy)
            place = np.rint(np.nan_to_num(at, nan=-1.0).clip(-1, 1e6)).astype(int)
            inside = (local[:, 2] > 0) & (place >= 0).all(axis=1) & (place < (camera.width, camera.height)).all(axis=1)
            for index in np.flatnonzero(inside).tolist():
                there = known[place[index, 1], place[index, 0]]
                if abs(there - local[index, 2]) < _SAME_DEPTH * local[index, 2]:
                    seen.append((first + index, view, (float(at[index, 0]), float(at[index, 1]))))
    return np.concatenate(points), tuple(seen)
