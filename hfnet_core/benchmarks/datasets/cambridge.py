"""Cambridge Landmarks; a place is a landmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from hfnet_core.benchmarks.datasets.dataset import FAR, Bounds, Layout, Place, QueryImage
from hfnet_core.benchmarks.datasets.lists import read_cambridge_poses, read_names
from hfnet_core.errors import DatasetError
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maintenance.nvm_import import posed_images_of_nvm
from hfnet_core.maintenance.posed_images import PosedImage, PosedImages
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.maps.exchange.nvm import nvm_camera, read_nvm
from hfnet_core.types import Camera

__all__ = ["Cambridge"]

_RETRIANGULATED = "CambridgeLandmarks_Colmap_Retriangulated_1024px"


class Cambridge:
    """The download itself (lists of poses, an NVM model of all images), or hloc's COLMAP models beside it."""

    name = "cambridge"
    title = "Cambridge Landmarks"
    page = "http://mi.eng.cam.ac.uk/projects/relocalisation/"

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        lists = self._layout.folders("*/dataset_test.txt", "KingsCollege/dataset_test.txt")
        return tuple(str(Path(path).parent) for path in lists)

    def open(self, place: str) -> Place:
        models = f"{_RETRIANGULATED}/{place}"
        if self._layout.first([models]) is not None:
            return self._from_colmap(place, models)
        found = self._layout.found(
            {
                "folder": (place,),
                "train": (f"{place}/dataset_train.txt",),
                "test": (f"{place}/dataset_test.txt",),
                "model": (f"{place}/reconstruction.nvm",),
            }
        )
        folder, truth = found["folder"], read_cambridge_poses(found["test"])
        cameras = _nvm_cameras(found["model"], folder)
        queries = [
            QueryImage(name, cameras[name], place, name, pose) for name, pose in truth.items() if name in cameras
        ]
        if len(queries) < len(truth):
            raise DatasetError(f"{found['model']}: lacks {len(truth) - len(queries)} images of {found['test']}")

        def map_images() -> PosedImages:
            train = read_cambridge_poses(found["train"])
            return posed_images_of_nvm(found["model"], {n: c for n, c in cameras.items() if n in train}, _as_png)

        return Place(place, folder, folder, map_images, queries)

    def _from_colmap(self, place: str, models: str) -> Place:
        """Models at 1024 pixels, of images that are larger."""
        found = self._layout.found(
            {
                "folder": (place,),
                "map": (f"{models}/model_train",),
                "all": (f"{models}/empty_all",),
                "list": (f"{models}/list_query.txt",),
                **self._layout.colmap(f"{models}/model_train"),
                **self._layout.colmap(f"{models}/empty_all"),
            }
        )
        folder = found["folder"]
        known = {item.name: item for item in posed_images_of(read_model(found["all"]), str(found["all"])).images}
        names = read_names(found["list"])
        lacking = [name for name in names if name not in known]
        if lacking:
            raise DatasetError(f"{found['all']}: lacks {len(lacking)} images of {found['list']}, first {lacking[0]}")
        scaled = _Scaled(folder)
        queries = [
            QueryImage(name, scaled(known[name]).camera, place, name, known[name].map_from_camera) for name in names
        ]

        def map_images() -> PosedImages:
            posed = posed_images_of(read_model(found["map"]), str(found["map"]))
            return replace(posed, images=[scaled(item) for item in posed.images])

        return Place(place, folder, folder, map_images, queries)

    def bounds(self, condition: str) -> Bounds:
        del condition
        return FAR

    def result_name(self, method: str) -> str:
        return f"cambridge_{method}.txt"


def _as_png(name: str) -> str:
    """The model names images .jpg that are stored as .png."""
    return str(PurePosixPath(name).with_suffix(".png"))


def _nvm_cameras(path: Path, folder: Path) -> dict[str, Camera]:
    """Of each image of the model as it is stored, at the size of the first one that can be read in its sequence."""
    sizes = _sizes(folder)
    images = read_nvm(path).images
    return {_as_png(item.name): camera_of(nvm_camera(item, sizes(_as_png(item.name)))) for item in images}


def _sizes(folder: Path) -> Callable[[str], tuple[int, int]]:
    """(width, height) of images by name; one image of a sequence is read, the others are like it."""
    known: dict[str, tuple[int, int]] = {}

    def size(name: str) -> tuple[int, int]:
        sequence = str(PurePosixPath(name).parent)
        if sequence not in known:
            candidates = [folder / name, *sorted((folder / sequence).glob("*.png"))]
            known[sequence] = next((found for path in candidates if (found := _size(path))), (1920, 1080))
        return known[sequence]

    return size


def _size(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_image(path).shape[:2]
    except DatasetError:
        return None  # said when its turn comes
    return width, height


class _Scaled:
    """Cameras at the size of the images as they are stored."""

    def __init__(self, folder: Path) -> None:
        self._sizes = _sizes(folder)

    def __call__(self, item: PosedImage) -> PosedImage:
        width, height = self._sizes(item.name)
        if not np.isclose(width / item.camera.width, height / item.camera.height, rtol=1e-2):
            raise DatasetError(f"{item.name}: is {width}x{height}, its model {item.camera.width}x{item.camera.height}")
        return replace(item, camera=item.camera.scaled(width, height))
