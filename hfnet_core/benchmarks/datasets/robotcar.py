"""RobotCar Seasons, both versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from hfnet_core.benchmarks.datasets.dataset import FAR, Bounds, Layout, Place, QueryImage
from hfnet_core.benchmarks.datasets.lists import read_matrix_lines, read_names, rows
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.nvm_import import posed_images_of_nvm
from hfnet_core.maintenance.posed_images import PosedImages
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_reading import model_camera
from hfnet_core.types import Camera

__all__ = ["RobotCar", "RobotCarV2"]

_SERVER = "https://data.ciirc.cvut.cz/public/projects/2020VisualLocalization/RobotCar-Seasons/"
_CONDITIONS = ("dawn", "dusk", "night", "night-rain", "overcast-summer", "overcast-winter", "rain", "snow", "sun")
_SIDES = ("left", "rear", "right")
_REFERENCE = "overcast-reference"


class RobotCar:
    """Version 1: one merged NVM model; every image of a condition's rear camera is a query."""

    name = "robotcar"
    title = "RobotCar Seasons"
    page = f"https://www.visuallocalization.net/datasets/ ({_SERVER})"
    _method = "RobotCar_eval_{}.txt"

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        return ("all",)

    def open(self, place: str) -> Place:
        wanted = {side: (f"intrinsics/{side}_intrinsics.txt",) for side in _SIDES}
        model = ("3D-models/all-merged/all.nvm",)
        found = self._layout.found({"model": model, "images": ("images",), "map": (f"images/{_REFERENCE}",), **wanted})
        conditions = [name for name in _CONDITIONS if (found["images"] / name / "rear").is_dir()]
        if not conditions:
            self._layout.need(*(f"images/{name}/rear" for name in _CONDITIONS))
        cameras = self._cameras(found)
        queries = [
            QueryImage(f"{condition}/rear/{path.name}", cameras["rear"], condition, f"rear/{path.name}")
            for condition in conditions
            for path in sorted((found["images"] / condition / "rear").glob("*.jpg"))
        ]
        return Place(place, found["images"], found["images"], lambda: _posed(found["model"], cameras), queries)

    def _cameras(self, found: dict[str, Path]) -> dict[str, Camera]:
        """By side. The images have no distortion; their size is that of any."""
        example = next(iter(sorted(found["map"].glob("*/*.jpg"))), None)
        if example is None:
            self._layout.need(f"images/{_REFERENCE}/rear/1417176458999821.jpg")
            raise DatasetError(f"{found['map']}: holds no jpg images in folders of cameras")
        height, width = read_image(example).shape[:2]
        return {side: _intrinsics(found[side], (width, height)) for side in _SIDES}

    def bounds(self, condition: str) -> Bounds:
        del condition
        return FAR

    def result_name(self, method: str) -> str:
        return self._method.format(method)


class RobotCarV2(RobotCar):
    """Version 2: some queries come with their poses, to train on; the others are asked for."""

    name = "robotcar-v2"
    title = "RobotCar Seasons v2"
    _method = "RobotCar_v2_eval_{}.txt"

    def open(self, place: str) -> Place:
        lists = self._layout.found({"train": ("robotcar_v2_train.txt",), "test": ("robotcar_v2_test.txt",)})
        known = {_as_jpg(name): pose for name, pose in read_matrix_lines(lists["train"]).items()}
        asked = {_as_jpg(name) for name in read_names(lists["test"])}
        opened = super().open(place)
        queries = [
            replace(item, truth=known.get(item.name), submitted=item.submitted if item.name in asked else "")
            for item in opened.queries
            if item.name in asked or item.name in known
        ]
        if not queries:
            raise DatasetError(f"{lists['test']}: names no image that is below {opened.query_folder}")
        return replace(opened, queries=queries)


def _as_jpg(name: str) -> str:
    """Models and lists name images .png that are stored as .jpg."""
    return str(PurePosixPath(name).with_suffix(".jpg"))


def _intrinsics(path: Path, size: tuple[int, int]) -> Camera:
    """Lines `fx VALUE`, `fy VALUE`, `cx VALUE`, `cy VALUE`; pixels count from the corner of the first one."""
    values = {fields[0]: fields[1] for _, fields in rows(path, "intrinsics") if len(fields) == 2}
    try:
        params = [float(values[key]) for key in ("fx", "fy", "cx", "cy")]
        return camera_of(model_camera(0, "PINHOLE", size, params))
    except (KeyError, ValueError, MapError) as error:
        raise DatasetError(f"{path}: lacks fx, fy, cx, cy, or they are no intrinsics ({error})") from error


def _posed(model: Path, cameras: dict[str, Camera]) -> PosedImages:
    return posed_images_of_nvm(model, _BySide(cameras), _as_jpg)


class _BySide(dict[str, Camera]):
    """Cameras of images, by the folder they lie in."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(PurePosixPath(str(name)).parent.name)

    def __getitem__(self, name: str) -> Camera:
        return super().__getitem__(PurePosixPath(name).parent.name)
