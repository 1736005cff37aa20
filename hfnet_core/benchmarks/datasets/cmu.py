"""CMU Seasons and Extended CMU Seasons; a place is a slice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hfnet_core.benchmarks.datasets.dataset import FAR, Bounds, Layout, Place, QueryImage
from hfnet_core.benchmarks.datasets.lists import read_centres, read_names
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.query_list import read_query_list
from hfnet_core.geometry import Pose
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maintenance.nvm_import import posed_images_of_nvm
from hfnet_core.maintenance.posed_images import PosedImage, PosedImages
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.types import Camera

__all__ = ["Cmu", "ExtendedCmu"]

_SERVER = "https://data.ciirc.cvut.cz/public/projects/2020VisualLocalization/"
_SCENES = {"urban": range(2, 9), "suburban": range(9, 18), "park": range(18, 26)}  # the datasets' own division
_CAMERA = re.compile(r"_(c\d)_")


def _scene(place: str) -> str:
    """Urban, suburban or park: results are reported so."""
    number = int(place.removeprefix("slice"))
    return next((name for name, slices in _SCENES.items() if number in slices), place)


def _by_number(names: list[str]) -> tuple[str, ...]:
    slices = {PurePosixPath(name).parts[-1] for name in names}
    numbered = [name for name in slices if name.removeprefix("slice").isdecimal()]
    return tuple(sorted(numbered, key=lambda name: int(name.removeprefix("slice"))))


def _camera_of(where: Path, name: str, cameras: Mapping[str, Camera]) -> Camera:
    """By the part of the name that tells the camera."""
    found = _CAMERA.search(name)
    if found is None or found.group(1) not in cameras:
        raise DatasetError(f"{where}: {name[:60]!r} tells no camera among {', '.join(sorted(cameras))}")
    return cameras[found.group(1)]


class Cmu:
    """The first version: NVM models, query lists with intrinsics, images without distortion."""

    name = "cmu"
    title = "CMU Seasons"
    page = f"https://www.visuallocalization.net/datasets/ ({_SERVER}CMU-Seasons/)"

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        return _by_number(self._layout.folders("images/slice*", "images/slice2"))

    def open(self, place: str) -> Place:
        lists = [f"{folder}{place}.queries_with_intrinsics.txt" for folder in ("query_lists/", f"{place}/", "")]
        models = [f"3D-models/{place}.nvm", f"3D-models/{place}/{place}.nvm", f"{place}/{place}.nvm"]
        images = f"images/{place}"
        kinds = {kind: (f"{images}/{kind}",) for kind in ("database", "query")}
        found = self._layout.found({"list": lists, "model": models, "images": (images,), **kinds})
        listed = read_query_list(found["list"])
        cameras = {tag.group(1): camera for name, camera in listed if (tag := _CAMERA.search(name))}
        queries = [QueryImage(name, camera, _scene(place), Path(name).name) for name, camera in listed]

        def map_images() -> PosedImages:
            known = {
                f"database/{path.name}": _camera_of(found["database"], path.name, cameras)
                for path in found["database"].glob("*_c?_*.jpg")
            }
            return posed_images_of_nvm(found["model"], known, lambda name: f"database/{PurePosixPath(name).name}")

        return Place(place, found["images"], found["images"], map_images, queries)

    def bounds(self, condition: str) -> Bounds:
        del condition
        return FAR

    def result_name(self, method: str) -> str:
        return f"CMU_eval_{method}.txt"


class ExtendedCmu:
    """The extended version: COLMAP models or poses of the map's images, intrinsics with distortion, poses of some
    queries."""

    name = "cmu-extended"
    title = "Extended CMU Seasons"
    page = f"https://www.visuallocalization.net/datasets/ ({_SERVER}Extended-CMU-Seasons/)"

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        return _by_number(self._layout.folders("slice*", "slice2"))

    def open(self, place: str) -> Place:
        known = f"{place}/ground-truth-database-images-{place}.txt"
        found = self._layout.found(
            {
                "intrinsics": ("intrinsics.txt",),
                "list": (f"{place}/test-images-{place}.txt",),
                "database": (f"{place}/database",),
                "query": (f"{place}/query",),
                "known": (f"{place}/sparse", known),
                **(self._layout.colmap(f"{place}/sparse") if (self._layout.root / place / "sparse").is_dir() else {}),
            }
        )
        cameras = dict(read_query_list(found["intrinsics"]))
        asked, truth = read_names(found["list"]), self._truth(place)
        names = [*asked, *(name for name in truth if name not in set(asked))]
        queries = [
            QueryImage(
                name,
                _camera_of(found["list"], name, cameras),
                _scene(place),
                name if number < len(asked) else "",
                truth.get(name),
            )
            for number, name in enumerate(names)
        ]

        def map_images() -> PosedImages:
            if found["known"].is_dir():
                return posed_images_of(read_model(found["known"]), str(found["known"]))
            poses = read_centres(found["known"])
            images = [PosedImage(n, _camera_of(found["known"], n, cameras), pose) for n, pose in poses.items()]
            return PosedImages(str(found["known"]), images, kind="list of poses")

        return Place(place, found["database"], found["query"], map_images, queries)

    def _truth(self, place: str) -> dict[str, Pose]:
        files = sorted((self._layout.root / place / "camera-poses").glob("*.txt"))
        return {name: pose for path in files for name, pose in read_centres(path).items()}

    def bounds(self, condition: str) -> Bounds:
        del condition
        return FAR

    def result_name(self, method: str) -> str:
        return f"ECMU_eval_{method}.txt"
