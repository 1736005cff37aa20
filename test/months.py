"""A room that changes from visit to visit: of its posters, furniture and lamps a third each, at random.

Everything follows from the seed. Floor, ceiling, walls and a few fixtures stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.reading import Keyframe, Reading
from hfnet_core.synthetic import posters, textures
from hfnet_core.synthetic.building import PIXELS_PER_M, Site, boards, put, stone
from hfnet_core.synthetic.rendering import Quad, Renderer
from hfnet_core.synthetic.walk import look
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 320, 240, (230.0, 230.0, 159.5, 119.5))
WIDE_M, DEEP_M, HIGH_M = 7.0, 6.0, 2.8
POSTERS, FURNITURE, LAMPS = 15, 9, 9
_CHANGING = 3  # one in so many changes with each visit
_DIM, _BRIGHT = 0.45, 1.0  # a lamp that is off, and on


@dataclass(frozen=True)
class Month:
    """How often each poster has been replaced, each piece of furniture moved, and which lamps are on."""

    posters: tuple[int, ...] = (0,) * POSTERS
    furniture: tuple[int, ...] = (0,) * FURNITURE
    lamps: tuple[bool, ...] = (True, False, True) * (LAMPS // 3)

    def later(self, rng: np.random.Generator) -> Month:
        """At the next visit: a third of each has changed."""

        def some(count: int) -> set[int]:
            return set(rng.permutation(count)[: count // _CHANGING].tolist())

        new, moved, switched = some(POSTERS), some(FURNITURE), some(LAMPS)
        return Month(
            tuple(value + (index in new) for index, value in enumerate(self.posters)),
            tuple(value + (index in moved) for index, value in enumerate(self.furniture)),
            tuple(value != (index in switched) for index, value in enumerate(self.lamps)),
        )


def months(count: int, seed: int = 0) -> list[Month]:
    """The room at each of so many visits, the first that of the map."""
    rng, out = np.random.default_rng([seed, 12]), [Month()]
    while len(out) < count:
        out.append(out[-1].later(rng))
    return out


def room(month: Month, seed: int = 0) -> list[Quad]:
    """All quads, lit."""
    site = Site(seed, rearranged=False)
    site.add("floor", (0, DEEP_M, 0), (WIDE_M, 0, 0), (0, -DEEP_M, 0), boards((150, 116, 80), 0.16))
    site.add("ceiling", (0, 0, HIGH_M), (WIDE_M, 0, 0), (0, DEEP_M, 0), _plain)
    corners = ((0.0, DEEP_M), (WIDE_M, DEEP_M), (WIDE_M, 0.0), (0.0, 0.0))
    for number in range(4):
        _wall(site, month, number, corners[number], corners[(number + 1) % 4])
    for number, moves in enumerate(month.furniture):
        _furniture(site, number, moves)
    return [_lit(quad, month) for quad in site.quads]


def _plain(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    return textures.plaster(height, width, rng, PIXELS_PER_M, (216, 212, 200))


def _wall(site: Site, month: Month, number: int, left: tuple[float, float], right: tuple[float, float]) -> None:
    """Plaster with a door or a window that stay, and every fourth poster."""

    def paint(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        wall = _plain(height, width, rng)
        if number % 2:
            put(wall, rng, (0.4, 0.6, 0.9, 2.2), posters.door, PIXELS_PER_M, (110, 84, 60), str(number))
        else:
            put(wall, rng, (0.4, 0.5, 1.0, 1.2), posters.window, (236, 232, 220))
        for index in range(number, POSTERS, 4):
            own = site.rng(f"poster/{index}/{month.posters[index]}")
            size = float(own.uniform(0.6, 0.9))
            x = 1.7 + 1.1 * (index // 4) + float(own.uniform(-0.1, 0.1))
            put(wall, own, (x, float(own.uniform(0.5, 0.9)), size, 1.3 * size), posters.poster)
        return wall

    site.wall(f"wall/{number}", left, right, 0.0, HIGH_M, paint)


def _furniture(site: Site, number: int, moves: int) -> None:
    """A box along the walls, of another place and turn after each move."""
    own = site.rng(f"place/{number}/{moves}")
    along = (number + 0.5) / FURNITURE * 2 * np.pi + float(own.uniform(-0.25, 0.25))
    x = WIDE_M / 2 + (WIDE_M / 2 - 0.6) * np.cos(along)
    y = DEEP_M / 2 + (DEEP_M / 2 - 0.6) * np.sin(along)
    size = 0.4 + 0.05 * (number % 4)
    paint = (boards((160, 110, 70), 0.1), stone((170, 160, 150)), boards((90, 110, 130), 0.13))[number % 3]
    site.box(f"furniture/{number}", (x, y), (size, size), 0.0, 1.6 * size, paint, yaw_deg=float(own.uniform(0, 90)))


def _lit(quad: Quad, month: Month) -> Quad:
    """By nine lamps under the ceiling: the nearer one counts most. Shadows there are none."""
    v, u = np.mgrid[0:1:8j, 0:1:8j]
    points = quad.point(u, v)
    light = np.zeros((8, 8))
    weight = np.zeros((8, 8))
    for index, on in enumerate(month.lamps):
        place = np.array([WIDE_M * (index % 3 + 0.5) / 3, DEEP_M * (index // 3 + 0.5) / 3, HIGH_M - 0.1])
        near = 1.0 / (0.5 + np.linalg.norm(points - place, axis=-1) ** 2)
        light += near * (_BRIGHT if on else _DIM)
        weight += near
    return replace(quad, texture=_shaded(quad.texture, light / weight))


def _shaded(texture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """The texture times light that is known on a coarse grid."""
    height, width = texture.shape[:2]
    fine = cv2.resize(light.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(texture * fine[..., None], 0, 255).astype(np.uint8)


def way(visit: int, images: int) -> list[Pose]:
    """Once around the room, looking outwards; each visit goes a little elsewhere. map_from_camera."""
    rng = np.random.default_rng([visit, 5])
    out = []
    for step in range(images):
        angle = 2 * np.pi * step / images + float(rng.uniform(-0.05, 0.05))
        place = np.array([WIDE_M / 2 + 1.1 * np.cos(angle), DEEP_M / 2 + 0.9 * np.sin(angle), 1.4])
        place += rng.uniform(-0.1, 0.1, 3)
        out.append(look(place, angle + 0.25 * np.sin(3 * angle) + float(rng.uniform(-0.08, 0.08))))
    return out


def photographs(month: Month, poses: list[Pose], seed: int = 0, noise: float = 3.0) -> list[np.ndarray]:
    """Gray images [H, W] of a camera that adapts its exposure."""
    renderer, rng, out = Renderer(CAMERA, room(month, seed), oversampling=1), np.random.default_rng([seed, 8]), []
    for pose in poses:
        gray = renderer.render(pose).astype(np.float32).mean(axis=2)
        gray *= 110.0 / max(float(gray.mean()), 1.0)
        out.append(np.clip(gray + rng.normal(0, noise, gray.shape), 0, 255).astype(np.uint8))
    return out


def visit(
    number: int, month: Month, extractor: Extractor, images: int, drift: float = 0.01
) -> tuple[Reading, list[Pose]]:
    """A drive through the room as keyframes with odometry that drifts, and where they truly are."""
    poses = way(number, images)
    rng = np.random.default_rng([number, 6])
    odom = Pose(Rotation.from_euler("z", 30 * number, degrees=True).as_matrix(), np.array([3.0, 1.0, 0.0]))
    keyframes = []
    for index, (pose, image) in enumerate(zip(poses, photographs(month, poses), strict=True)):
        if index:
            step = poses[index - 1].inverse() @ pose
            wrong = Rotation.from_rotvec(rng.normal(0, np.radians(0.3), 3)).as_matrix()
            odom = odom @ Pose(step.rotation @ wrong, step.translation * (1 + drift))
        features = extractor.extract(image).without_dense()
        stamp_ns = 10**12 * (number + 1) + index * 10**9
        keyframes.append(
            Keyframe(f"{number}/{index:06d}", stamp_ns, number, CAMERA, pose, features, odometry_from_camera=odom)
        )
    return Reading(f"visit {number}", keyframes, {"keyframes": len(keyframes)}), poses
