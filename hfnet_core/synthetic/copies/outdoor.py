"""Small places laid out as the outdoor datasets are when downloaded and unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hfnet_core.geometry import Pose
from hfnet_core.synthetic.copies.place import RenderedPlace, View, render_place
from hfnet_core.synthetic.copies.writing import (
    colmap_fields,
    simple_radial,
    write_colmap,
    write_image,
    write_lines,
    write_nvm,
)
from hfnet_core.types import Camera

__all__ = ["aachen", "aachen_v1_1", "cambridge", "cmu", "cmu_extended", "robotcar", "robotcar_v2"]

Truth = dict[str, Pose]
_PINHOLE = Camera("PINHOLE", 320, 240, (250.0, 250.0, 160.5, 118.5))
_SQUARE = Camera("PINHOLE", 288, 288, (240.0, 240.0, 144.5, 142.5))
_RADIAL = Camera("OPENCV", 320, 240, (250.0, 250.0, 160.5, 118.5, -0.08, 0.0, 0.0, 0.0))
_DISTORTED = Camera("OPENCV", 320, 240, (250.0, 249.0, 161.0, 118.0, -0.06, 0.01, 0.0004, -0.0006))
_SENT_S = 1417176458


def aachen(root: Path) -> Truth:
    place = render_place(_RADIAL)
    names, truth = _upright(root, place)
    write_nvm(root / "3D-models/aachen_cvpr2018_db.nvm", place, names)
    write_lines(root / "3D-models/database_intrinsics.txt", (f"{n} {_told(_RADIAL)}" for n in names))
    return truth


def aachen_v1_1(root: Path) -> Truth:
    place = render_place(_RADIAL)
    names, truth = _upright(root, place)
    images = [(name, view.map_from_camera) for name, view in zip(names, place.map_views, strict=True)]
    write_colmap(root / "3D-models/aachen_v_1_1", simple_radial(_RADIAL), images, place)
    return truth


def _upright(root: Path, place: RenderedPlace) -> tuple[list[str], Truth]:
    """Images and lists of both versions."""
    names = [f"db/{number + 1}.jpg" for number in range(len(place.map_views))]
    for name, view in zip(names, place.map_views, strict=True):
        write_image(root / "images_upright" / name, view.image)
    truth: Truth = {}
    lines: dict[str, list[str]] = {"day": [], "night": []}
    for number, view in enumerate(place.query_views):
        condition, phone = ("day", "milestone") if number % 2 == 0 else ("night", "nexus5x")
        name = f"query/{condition}/{phone}/IMG_{number:04d}.jpg"
        write_image(root / "images_upright" / name, view.image)
        lines[condition].append(f"{name} {_told(place.camera)}")
        truth[name] = view.map_from_camera
    for condition, own in lines.items():
        write_lines(root / f"queries/{condition}_time_queries_with_intrinsics.txt", own)
    return names, truth


def _told(camera: Camera) -> str:
    return colmap_fields(simple_radial(camera))


def robotcar(root: Path) -> Truth:
    place = render_place(_SQUARE)
    stamps = [f"{_SENT_S + number}389469" for number in range(len(place.map_views))]
    names = [f"overcast-reference/rear/{stamp}.jpg" for stamp in stamps]
    for name, view in zip(names, place.map_views, strict=True):
        write_image(root / "images" / name, view.image)
    write_nvm(root / "3D-models/all-merged/all.nvm", place, [f"./{name[:-4]}.png" for name in names])
    fx, fy, cx, cy = _SQUARE.params
    lines = [f"fx {fx}", f"fy {fy}", f"cx {cx + 0.5}", f"cy {cy + 0.5}"]
    for side in ("left", "rear", "right"):
        write_lines(root / f"intrinsics/{side}_intrinsics.txt", lines)
    truth = {}
    for number, view in enumerate(place.query_views):
        name = f"{('dusk', 'night')[number % 2]}/rear/{_SENT_S + 1000 + number}000001.jpg"
        write_image(root / "images" / name, view.image)
        truth[name] = view.map_from_camera
    return truth


def robotcar_v2(root: Path) -> Truth:
    """With poses of the first half of the queries, the second one to be told."""
    truth = robotcar(root)
    names = list(truth)
    train = names[: len(names) // 2]
    write_lines(
        root / "robotcar_v2_train.txt",
        (f"{n} {' '.join(f'{value:.12g}' for value in truth[n].matrix().ravel())}" for n in train),
    )
    write_lines(root / "robotcar_v2_test.txt", names[len(train) :])
    return truth


def cmu(root: Path) -> Truth:
    place = render_place(_PINHOLE)
    folder = root / "images/slice2"
    names = [_cmu_name(number, "_rect") for number in range(len(place.map_views))]
    for name, view in zip(names, place.map_views, strict=True):
        write_image(folder / "database" / name, view.image)
    write_nvm(root / "3D-models/slice2.nvm", place, [f"database/{name}" for name in names])
    lines, truth = [], {}
    for name, view in _cmu_queries(place, "_rect"):
        write_image(folder / "query" / name, view.image)
        lines.append(f"query/{name} {colmap_fields(_PINHOLE)}")
        truth[f"query/{name}"] = view.map_from_camera
    write_lines(root / "query_lists/slice2.queries_with_intrinsics.txt", lines)
    return truth


def cmu_extended(root: Path) -> Truth:
    """Slice 2 has a model, and poses of its first query; slice 3 only poses of its images."""
    lines = [f"{camera} {colmap_fields(_DISTORTED)}" for camera in ("c0", "c1")]
    write_lines(root / "intrinsics.txt", ["# camera model width height fx fy cx cy k1 k2 p1 p2", *lines])
    return _slice(root, 2, 10.0) | _slice(root, 3, 15.0)


def _slice(root: Path, number: int, start_s: float) -> Truth:
    place = render_place(_DISTORTED, query_views=4 if number == 2 else 2, start_s=start_s)
    folder = root / f"slice{number}"
    names = [_cmu_name(1000 * number + index) for index in range(len(place.map_views))]
    for name, view in zip(names, place.map_views, strict=True):
        write_image(folder / "database" / name, view.image)
    images = [(name, view.map_from_camera) for name, view in zip(names, place.map_views, strict=True)]
    write_lines(folder / f"ground-truth-database-images-slice{number}.txt", (_centred(*image) for image in images))
    if number == 2:
        write_colmap(folder / "sparse", _DISTORTED, images, place)
    truth = {}
    for name, view in _cmu_queries(place, "", 1000 * number + 500):
        write_image(folder / "query" / name, view.image)
        truth[name] = view.map_from_camera
    known = 1 if number == 2 else 0
    write_lines(folder / f"test-images-slice{number}.txt", list(truth)[known:])
    write_lines(folder / "camera-poses/known.txt", (_centred(*item) for item in list(truth.items())[:known]))
    return truth


def _centred(name: str, map_from_camera: Pose) -> str:
    x, y, z, w = map_from_camera.inverse().quat_xyzw()
    return f"{name} {' '.join(f'{value:.12g}' for value in (w, x, y, z, *map_from_camera.translation))}"


def _cmu_name(number: int, suffix: str = "") -> str:
    return f"img_{number:05d}_c{number % 2}_13033984750{number:05d}us{suffix}.jpg"


def _cmu_queries(place: RenderedPlace, suffix: str, first: int = 500) -> Iterator[tuple[str, View]]:
    for number, view in enumerate(place.query_views):
        yield _cmu_name(first + number, suffix), view


def cambridge(root: Path) -> Truth:
    """The download itself: lists of poses, and a model of all images."""
    middle = Camera("OPENCV", 320, 240, (250.0, 250.0, 159.5, 119.5, -0.05, 0.0, 0.0, 0.0))
    place = render_place(middle)
    folder = root / "ShopFacade"
    views = (*place.map_views, *place.query_views)
    count = len(place.map_views)
    names = [f"seq{1 if n < count else 3}/frame{n + 1:05d}.png" for n in range(len(views))]
    for name, view in zip(names, views, strict=True):
        write_image(folder / name, view.image)
    everything = RenderedPlace(middle, views, (), place.points, place.seen)
    write_nvm(folder / "reconstruction.nvm", everything, [name.replace(".png", ".jpg") for name in names])
    for kind, chosen in (("train", slice(0, count)), ("test", slice(count, None))):
        lines = [_posed(n, view.map_from_camera) for n, view in zip(names[chosen], views[chosen], strict=True)]
        head = ["Visual Landmark Dataset V1", "ImageFile, Camera Position [X Y Z W P Q R]", ""]
        write_lines(folder / f"dataset_{kind}.txt", [*head, *lines])
    return {n: view.map_from_camera for n, view in zip(names[count:], views[count:], strict=True)}


def _posed(name: str, map_from_camera: Pose) -> str:
    x, y, z, w = map_from_camera.inverse().quat_xyzw()
    return f"{name} {' '.join(f'{value:.9f}' for value in (*map_from_camera.translation, w, x, y, z))}"
