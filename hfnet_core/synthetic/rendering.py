"""An exact renderer for worlds made of textured rectangles.

Each pixel's ray is cut with the plane of every rectangle in view; the nearest hit in front of the near plane wins
(a z-buffer over inverse depth, which is linear in the ray), and its texture is sampled at the hit from a mip
pyramid. Lens distortion is part of the rays, so a point of the world appears exactly where the camera model
projects it. The picture is computed `oversampling` times finer per side and averaged down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Array, Pose
from hfnet_core.synthetic.textures import Image
from hfnet_core.types import Camera

__all__ = ["Quad", "Renderer", "mip_levels"]

NEAR_M = 0.05
_CORNERS = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])


@dataclass(frozen=True, eq=False)
class Quad:
    """A rectangle seen from its front.

    origin: [3] its top-left corner, world frame, metres. right, down: [3] its edges as seen from the front, so the
    texture's pixel centre (i, j) lies at origin + right (i + .5) / W + down (j + .5) / H. texture: RGB uint8 [H, W, 3].
    glowing: not lit by lamps (sky, lamps). two_sided: visible from the back too, mirrored.
    """

    origin: Array
    right: Array
    down: Array
    texture: Image
    glowing: bool = False
    two_sided: bool = False

    @property
    def normal(self) -> Array:
        """[3] unit vector towards the viewer of the front."""
        out: Array = np.cross(self.down, self.right)
        out /= np.linalg.norm(out)
        return out

    def point(self, u: ArrayLike, v: ArrayLike) -> Array:
        """World points [..., 3] at texture coordinates 0..1 from the top-left corner."""
        a, b = np.asarray(u, np.float64)[..., None], np.asarray(v, np.float64)[..., None]
        out: Array = self.origin + a * self.right + b * self.down
        return out


def _distort(camera: Camera, normalized: Array) -> Array:
    k1, k2, p1, p2 = camera.params[4:] or (0.0,) * 4
    x, y = normalized[:, 0], normalized[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + k1 * r2 + k2 * r2 * r2
    moved_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    moved_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([moved_x, moved_y], axis=1)


def mip_levels(texture: Image) -> list[Image]:
    """The texture and its reductions by area averaging, each half the size, down to one pixel high or wide."""
    levels = [texture]
    while min(levels[-1].shape[:2]) > 1:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
    return levels


@dataclass(frozen=True, eq=False)
class _Surface:
    """A quad prepared for sampling."""

    quad: Quad
    levels: list[Image] = field(repr=False)


@dataclass(frozen=True, eq=False)
class _Seen:
    """A quad in a picture: rows and columns that contain it, and three linear forms of the ray (x, y, 1).

    They give inverse depth, u times inverse depth, and v times inverse depth.
    """

    surface: _Surface
    rows: slice
    columns: slice
    inverse_depth: NDArray[np.float32]
    u_form: NDArray[np.float32]
    v_form: NDArray[np.float32]


class Renderer:
    """Draws a fixed set of quads with a fixed camera (PINHOLE or OPENCV). Raises ConfigError for other models."""

    def __init__(self, camera: Camera, quads: Sequence[Quad], *, oversampling: int = 2) -> None:
        if camera.model not in ("PINHOLE", "OPENCV"):
            raise ConfigError(f"camera model {camera.model} cannot be rendered; use PINHOLE or OPENCV")
        self.camera = camera
        self._factor = oversampling
        self._surfaces = [_Surface(quad, mip_levels(quad.texture)) for quad in quads]
        self._rays = self._make_rays()
        # Nothing beyond this reaches the picture, and the lens model may fold back there.
        self._limit = 1.5 * max(float(np.abs(ray).max()) for ray in self._rays)
        noise = np.random.default_rng(0).random(self._rays[0].shape, dtype=np.float32)
        self._dither = noise  # in 0..1: truncation after adding it rounds at random

    def _make_rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Normalized x and y [H s, W s] of every fine pixel's centre, the lens undone."""
        camera, s = self.camera, self._factor
        columns = (np.arange(camera.width * s) + 0.5) / s - 0.5
        rows = (np.arange(camera.height * s) + 0.5) / s - 0.5
        pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        fx, fy, cx, cy = camera.params[:4]
        distorted = (pixels - (cx, cy)) / (fx, fy)
        normalized = distorted.copy()
        if any(camera.params[4:]):
            for _ in range(12):  # fixed-point inversion; it converges fast for the mild lenses used here
                normalized += distorted - _distort(camera, normalized)
        grid = normalized.astype(np.float32).reshape(camera.height * s, camera.width * s, 2)
        return np.ascontiguousarray(grid[..., 0]), np.ascontiguousarray(grid[..., 1])

    def render(self, world_from_camera: Pose) -> Image:
        """RGB uint8 [H, W, 3] of the world from a pose; black where there is nothing."""
        seen, _, owner = self._hits(world_from_camera)
        picture = np.zeros((*owner.shape, 3), np.uint8)
        for index, item in enumerate(seen):
            self._paint(picture, owner, index, item)
        size = (self.camera.width, self.camera.height)
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)

    def depth_m(self, world_from_camera: Pose) -> NDArray[np.float32]:
        """[H, W] distance along the optical axis of what pixels show, metres; 0 where there is nothing."""
        _, inverse, owner = self._hits(world_from_camera)
        first, step = (self._factor - 1) // 2, self._factor
        depth = np.where(owner >= 0, 1.0 / inverse, np.float32(0.0))
        return np.ascontiguousarray(depth[first::step, first::step], np.float32)

    def _hits(self, world_from_camera: Pose) -> tuple[list[_Seen], NDArray[np.float32], NDArray[np.int16]]:
        """The quads in view, and per fine pixel the inverse depth of the nearest and its number (-1 for none)."""
        x, y = self._rays
        nearest = np.full(x.shape, 1e-6, np.float32)
        owner = np.full(x.shape, -1, np.int16)
        seen = [item for surface in self._surfaces if (item := self._place(surface, world_from_camera)) is not None]
        for index, item in enumerate(seen):
            window = (item.rows, item.columns)
            depth = _linear(item.inverse_depth, x[window], y[window])
            hit = (depth > nearest[window]) & (depth < 1.0 / NEAR_M)
            # 0 <= u < 1 and 0 <= v < 1 without the division: u is a ratio of linear forms.
            for form in (item.u_form, item.v_form):
                numerator = _linear(form, x[window], y[window])
                hit &= numerator >= 0.0
                hit &= numerator < depth
            np.copyto(nearest[window], depth, where=hit)
            np.copyto(owner[window], np.int16(index), where=hit)
        return seen, nearest, owner

    def _place(self, surface: _Surface, world_from_camera: Pose) -> _Seen | None:
        """Where and how a quad appears, or None when it is out of view or seen from behind."""
        quad = surface.quad
        camera_from_world = world_from_camera.inverse()
        origin = camera_from_world.apply(quad.origin[None])[0]
        right, down = camera_from_world.rotation @ quad.right, camera_from_world.rotation @ quad.down
        normal = np.cross(right, down)
        distance = float(normal @ origin)  # positive when the camera is in front
        if abs(distance) < 1e-9 * np.linalg.norm(normal) or (distance < 0 and not quad.two_sided):
            return None
        window = self._window(origin + _CORNERS[:, :1] * right + _CORNERS[:, 1:] * down)
        if window is None:
            return None
        u_form = np.cross(down, normal) / float(right @ np.cross(down, normal))
        v_form = np.cross(normal, right) / float(down @ np.cross(normal, right))
        inverse_depth = normal / distance
        forms = (inverse_depth, u_form - (u_form @ origin) * inverse_depth, v_form - (v_form @ origin) * inverse_depth)
        return _Seen(surface, *window, *(form.astype(np.float32) for form in forms))

    def _window(self, corners: Array) -> tuple[slice, slice] | None:
        """Rows and columns of the fine picture that contain a convex polygon [4, 3] given in the camera frame."""
        clipped = _clip_near(corners)
        if len(clipped) < 3:
            return None
        following = np.roll(clipped, -1, axis=0)
        steps = np.linspace(0.0, 1.0, 12, endpoint=False)[None, :, None]
        outline = (clipped[:, None] * (1 - steps) + following[:, None] * steps).reshape(-1, 3)
        normalized = outline[:, :2] / outline[:, 2:]
        fx, fy, cx, cy = self.camera.params[:4]
        pixels = _distort(self.camera, np.clip(normalized, -self._limit, self._limit)) * (fx, fy) + (cx, cy)
        s, margin = self._factor, 2 + 0.01 * self.camera.width * any(self.camera.params[4:])
        low = np.floor((pixels.min(axis=0) - margin) * s).astype(int)
        high = np.ceil((pixels.max(axis=0) + margin) * s).astype(int)
        columns = slice(max(low[0], 0), min(high[0], self.camera.width * s))
        rows = slice(max(low[1], 0), min(high[1], self.camera.height * s))
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None

    def _paint(self, picture: Image, owner: NDArray[np.int16], index: int, seen: _Seen) -> None:
        """Sample the quad's texture at the pixels it owns, each at the mip level nearest to the one it needs."""
        whole = owner[seen.rows, seen.columns] == index
        window = _shrink(whole, seen.rows, seen.columns)
        if window is None:
            return
        inside, x, y = owner[window] == index, self._rays[0][window], self._rays[1][window]
        # Outside the mask the plane may pass through the camera; keep the numbers finite there, they are not used.
        depth = np.maximum(_linear(seen.inverse_depth, x, y), 1e-6)
        level = self._level(seen, depth, window)
        level[~inside] = 255
        for chosen in range(int(level.min()), int(level[inside].max()) + 1):
            part = level == chosen
            band = _shrink(part, slice(0, part.shape[0]), slice(0, part.shape[1]))
            if band is None:
                continue
            u = _linear(seen.u_form, x[band], y[band]) / depth[band]
            v = _linear(seen.v_form, x[band], y[band]) / depth[band]
            colors = _sample(seen.surface.levels[chosen], u, v)
            cv2.copyTo(colors, part[band].view(np.uint8), picture[window][band])

    def _level(self, seen: _Seen, depth: NDArray[np.float32], window: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Mip level by the area of a fine pixel on the texture: the determinant of the homography's derivative.

        A fixed noise before rounding, averaged away with the oversampling, hides the steps between levels.
        """
        height, width = seen.surface.levels[0].shape[:2]
        rows = np.stack([seen.u_form * width, seen.v_form * height, seen.inverse_depth]).astype(np.float64)
        fx, fy = self.camera.focal_length
        area = abs(float(np.linalg.det(rows))) / (fx * fy * self._factor**2)
        level = cv2.log(depth) * np.float32(-1.5 / np.log(2.0)) + np.float32(0.5 * np.log2(max(area, 1e-30)))
        level += self._dither[window]
        rounded: NDArray[np.uint8] = np.clip(level, 0.0, len(seen.surface.levels) - 1.0).astype(np.uint8)
        return rounded


def _shrink(mask: NDArray[np.bool_], rows: slice, columns: slice) -> tuple[slice, slice] | None:
    """The part of a window that a mask over it needs; None when the mask is empty."""
    used = np.flatnonzero(mask.any(axis=1))
    if len(used) == 0:
        return None
    top, bottom = int(used[0]), int(used[-1]) + 1
    across = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(across[0]), int(across[-1]) + 1
    return slice(rows.start + top, rows.start + bottom), slice(columns.start + left, columns.start + right)


def _linear(form: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    out: NDArray[np.float32] = form[0] * x
    out += form[1] * y
    out += form[2]
    return out


def _sample(texture: Image, u: NDArray[Any], v: NDArray[Any]) -> Image:
    height, width = texture.shape[:2]
    at_x, at_y = u * np.float32(width) - np.float32(0.5), v * np.float32(height) - np.float32(0.5)
    return np.asarray(cv2.remap(texture, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _clip_near(polygon: Array) -> Array:
    """The part of a convex polygon [N, 3] with z >= NEAR_M (Sutherland-Hodgman)."""
    kept: list[Array] = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if a[2] >= NEAR_M:
            kept.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            kept.append(a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)
