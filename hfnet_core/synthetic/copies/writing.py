"""Images, models and lists as the datasets of visual localization have them on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2

from hfnet_core.geometry import Pose
from hfnet_core.synthetic.copies.place import RenderedPlace
from hfnet_core.synthetic.textures import Image
from hfnet_core.types import Camera

__all__ = [
    "colmap_fields",
    "simple_radial",
    "write_colmap",
    "write_image",
    "write_lines",
    "write_matrix",
    "write_nvm",
]


def simple_radial(camera: Camera) -> Camera:
    """An OPENCV camera with one coefficient, and one focal length, by its simpler name."""
    f, _, cx, cy, k = camera.params[:5]
    return Camera("SIMPLE_RADIAL", camera.width, camera.height, (f, cx, cy, k))


def colmap_fields(camera: Camera) -> str:
    """`MODEL WIDTH HEIGHT PARAMS...` with COLMAP's pixels, which count from the corner of the first one."""
    params = list(camera.params)
    first = len(camera.focal_parameters)
    params[first : first + 2] = [value + 0.5 for value in params[first : first + 2]]
    return f"{camera.model} {camera.width} {camera.height} {' '.join(f'{value:.9g}' for value in params)}"


def write_image(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix.lower() == ".jpg" else []
    cv2.imwrite(str(path), image[..., ::-1], options)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_matrix(path: Path, pose: Pose) -> None:
    """Four rows of four numbers."""
    write_lines(path, ("\t".join(f"{value:.9e}" for value in row) for row in pose.matrix()))


def write_nvm(path: Path, place: RenderedPlace, names: Sequence[str]) -> None:
    """The views of the map, under these names, with measurements counted from the corner."""
    focal = place.camera.focal_length[0]
    radial = -place.camera.distortion[0] if place.camera.distortion else 0.0
    lines = ["NVM_V3", "", str(len(names))]
    for name, view in zip(names, place.map_views, strict=True):
        x, y, z, w = view.map_from_camera.inverse().quat_xyzw()
        numbers = (focal, w, x, y, z, *view.map_from_camera.translation, radial)
        lines.append(f"{name} {' '.join(f'{value:.12g}' for value in numbers)} 0")
    lines += ["", str(len(place.points))]
    by_point = _by_point(place)
    for point, xyz in enumerate(place.points):
        measured = by_point.get(point, [])
        told = " ".join(f"{view} {number} {x + 0.5:.6f} {y + 0.5:.6f}" for view, number, (x, y) in measured)
        lines.append(f"{' '.join(f'{value:.9g}' for value in xyz)} 128 128 128 {len(measured)} {told}".rstrip())
    write_lines(path, [*lines, "", "0"])


def write_colmap(
    folder: Path, camera: Camera, images: Sequence[tuple[str, Pose]], place: RenderedPlace | None = None
) -> None:
    """A text model of one camera; place: adds its points, the first images being its views."""
    write_lines(folder / "cameras.txt", ["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]", f"1 {colmap_fields(camera)}"])
    keypoints: dict[int, list[str]] = {}
    points: list[str] = []
    for point, measured in sorted(_by_point(place).items()) if place is not None else ():
        track = []
        for view, _, (x, y) in measured:
            own = keypoints.setdefault(view, [])
            track.append(f"{view + 1} {len(own)}")
            own.append(f"{x + 0.5:.6f} {y + 0.5:.6f} {point + 1}")
        assert place is not None
        xyz = " ".join(f"{value:.9g}" for value in place.points[point])
        points.append(f"{point + 1} {xyz} 128 128 128 0.5 {' '.join(track)}")
    lines = ["# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME"]
    for index, (name, map_from_camera) in enumerate(images):
        camera_from_map = map_from_camera.inverse()
        x, y, z, w = camera_from_map.quat_xyzw()
        numbers = " ".join(f"{value:.12g}" for value in (w, x, y, z, *camera_from_map.translation))
        lines += [f"{index + 1} {numbers} 1 {name}", " ".join(keypoints.get(index, []))]
    write_lines(folder / "images.txt", lines)
    write_lines(folder / "points3D.txt", ["# POINT3D_ID X Y Z R G B ERROR TRACK[]", *points])


def _by_point(place: RenderedPlace) -> dict[int, list[tuple[int, int, tuple[float, float]]]]:
    """Of each point (view, number of the feature in it, pixel)."""
    found: dict[int, list[tuple[int, int, tuple[float, float]]]] = {}
    counts: dict[int, int] = {}
    for point, view, pixel in place.seen:
        found.setdefault(point, []).append((view, counts.setdefault(view, 0), pixel))
        counts[view] += 1
    return found
