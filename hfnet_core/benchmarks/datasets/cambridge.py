"""Cambridge Landmarks; a place is a landmark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from hfnet_core.benchmarks.datasets.dataset import FAR, Bounds, Layout, Place, QueryImage
from hfnet_core.benchmarks.datasets.lists import read_cambridge_poses, read_names
from hfnet_core.errors import DatasetError
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maintenance.nvm_import import nvm_cameras, posed_images_of_nvm, sizes_below
from hfnet_core.maintenance.posed_images import PosedImage, PosedImages
from hfnet_core.maps.colmap_reading import read_model

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
        cameras = nvm_cameras(found["model"], folder, _as_png)
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


class _Scaled:
    """Cameras at the size of the images as they are stored."""

    def __init__(self, folder: Path) -> None:
        self._sizes = sizes_below(folder)

    def __call__(self, item: PosedImage) -> PosedImage:
        width, height = self._sizes(item.name) or (item.camera.width, item.camera.height)
        if not np.isclose(width / item.camera.width, height / item.camera.height, rtol=1e-2):
            raise DatasetError(f"{item.name}: is {width}x{height}, its model {item.camera.width}x{item.camera.height}")
        return replace(item, camera=item.camera.scaled(width, height))
