"""Views of rendered rooms papered with photos of the pool: places with parallax and occlusion, and exact overlap.

Homographies of one photo know neither; pairs of real photos do, but not how much of each other they see.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.evaluation.depth_sequence import DepthFrame, mutual_overlap
from hfnet_core.extras import later
from hfnet_core.geometry import Array, Pose
from hfnet_core.synthetic.rendering import Quad, Renderer
from hfnet_core.training.data.augmentation import photometric
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.types import Camera

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["Room", "RoomViews", "pose_near", "render_room"]

_SIZE = (384, 288)
_PIXELS_PER_M = 110.0
_CLEAN = 0.15  # share of views without photometric noise
_NEAR_M = 0.7  # a view whose middle depth is less faces a wall
_TRIES = 5  # for each view that is wanted
_ROBOT_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # x forward; z forward


class RoomViews(NamedTuple):
    """images: gray uint8 [H, W] each; overlap: [V, V], the smaller of the two shares of one's surface that the other
    sees."""

    images: list[NDArray[np.uint8]]
    overlap: Array


def render_room(pool: Pool, rng: Generator, views: int) -> RoomViews:
    """A random room of 3-8 m with boxes in it, seen from around one place in it; at most `views` views."""
    width, height = _SIZE
    size = np.array([*rng.uniform(3.0, 8.0, 2), rng.uniform(2.3, 3.5)])
    focal = rng.uniform(0.75, 1.1) * width
    camera = Camera("PINHOLE", width, height, (focal, focal, width / 2, height / 2))
    lens = pycolmap.Camera(model=camera.model, width=width, height=height, params=list(camera.params))
    renderer = Renderer(camera, Room(pool, rng, size).quads, oversampling=1)
    place, yaw = rng.uniform(0.6, size[:2] - 0.6), rng.uniform(-np.pi, np.pi)
    frames: list[DepthFrame] = []
    for _ in range(views * _TRIES):
        pose = pose_near(rng, size, place, yaw)
        depth = renderer.depth_m(pose)
        if np.median(depth) < _NEAR_M or (depth <= 0).any():
            continue
        frames.append(DepthFrame(cv2.cvtColor(renderer.render(pose), cv2.COLOR_RGB2GRAY), depth, pose))
        if len(frames) == views:
            break
    overlap = np.eye(len(frames))
    for i, first in enumerate(frames):
        for j, second in enumerate(frames[:i]):
            overlap[i, j] = overlap[j, i] = mutual_overlap(first, second, lens)[0]
    images = [f.image if rng.random() < _CLEAN else photometric(rng, f.image) for f in frames]
    return RoomViews(images, overlap)


def pose_near(rng: Generator, size: Array, place: Array, yaw: float) -> Pose:
    """Near the place, looking roughly along `yaw`; map_from_camera."""
    position = np.clip(place + rng.normal(0.0, 0.6, 2), 0.3, size[:2] - 0.3)
    height = float(np.clip(rng.normal(1.4, 0.25), 0.4, size[2] - 0.3))
    turn, pitch, roll = np.deg2rad([rng.normal(0, 28), rng.normal(-8, 10), rng.normal(0, 4)])
    heading = Rotation.from_euler("z", yaw + turn).as_matrix()
    matrix = np.eye(4)
    matrix[:3, :3] = heading @ _ROBOT_FROM_OPTICAL @ Rotation.from_euler("xz", [pitch, roll]).as_matrix()
    matrix[:3, 3] = (*position, height)
    return Pose.from_matrix(matrix)


class Room:
    """Walls in panels, floor, ceiling and 6-15 boxes, each surface a piece of another photo. size: [3], metres."""

    def __init__(self, pool: Pool, rng: Generator, size: Array) -> None:
        self.pool, self.rng = pool, rng
        self.quads: list[Quad] = []
        x, y, z = size
        corners = np.array([(0.0, 0.0), (x, 0.0), (x, y), (0.0, y)])
        for left, right in zip(np.roll(corners, -1, axis=0), corners, strict=True):  # as seen from inside
            self._wall(left, right, z)
        self._add((0, y, 0), (x, 0, 0), (0, -y, 0))
        self._add((0, 0, z), (x, 0, 0), (0, y, 0))
        for _ in range(int(rng.integers(6, 16))):
            self._box(size)

    def _add(self, origin: object, right: object, down: object) -> None:
        edges = [np.asarray(v, np.float64) for v in (origin, right, down)]
        texture = self._texture(*(float(np.linalg.norm(edge)) for edge in edges[1:]))
        self.quads.append(Quad(edges[0], edges[1], edges[2], texture))

    def _wall(self, left: Array, right: Array, height: float) -> None:
        """2-4 panels side by side, some of them of two parts, one above the other."""
        rng = self.rng
        cuts = np.concatenate([[0.0], np.sort(rng.uniform(0.1, 0.9, int(rng.integers(1, 4)))), [1.0]])
        for start, end in pairwise(cuts):
            origin, edge = left + start * (right - left), (*((end - start) * (right - left)), 0.0)
            middle = rng.uniform(0.3, 0.7) * height if rng.random() < 0.4 else 0.0
            self._add((*origin, height), edge, (0, 0, middle - height))
            if middle > 0:
                self._add((*origin, middle), edge, (0, 0, -middle))

    def _box(self, room: Array) -> None:
        """On the floor or, three in ten, in the air."""
        rng = self.rng
        centre, size = rng.uniform(0.3, room[:2] - 0.3), rng.uniform(0.2, 1.2, 2)
        low = 0.0 if rng.random() < 0.7 else rng.uniform(0.5, 1.5)
        high, yaw = low + rng.uniform(0.2, 1.2), rng.uniform(0, np.pi)
        turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        ring = centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * size / 2) @ turn.T
        for left, right in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            self._add((*left, high), (*(right - left), 0), (0, 0, low - high))
        across, forth = (*(ring[1] - ring[0]), 0), ring[0] - ring[3]
        self._add((*ring[3], high), across, (*forth, 0))
        self._add((*ring[0], low), across, (*-forth, 0))

    def _texture(self, width_m: float, height_m: float) -> NDArray[np.uint8]:
        """A piece of a random photo with the surface's aspect, its brightness and contrast changed."""
        rng = self.rng
        photo = read_gray(self.pool.photos[int(rng.integers(len(self.pool.photos)))].path)
        size = np.maximum(np.array([width_m, height_m]) * _PIXELS_PER_M, 16).astype(int)
        scale = rng.uniform(0.5, 1.0) * float((np.array(photo.shape[::-1]) / size).min())
        width, height = (max(int(side), 8) for side in size * scale)
        left, top = (int(rng.integers(max(room, 1))) for room in (photo.shape[1] - width, photo.shape[0] - height))
        piece = cv2.resize(
            photo[top : top + height, left : left + width], size.tolist(), interpolation=cv2.INTER_LINEAR
        )
        if rng.random() < 0.5:
            piece = piece[:, ::-1]
        lit = piece.astype(np.float32) * rng.uniform(0.6, 1.2) + rng.uniform(-20, 30)
        return np.repeat(np.clip(lit, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
