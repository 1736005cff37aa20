"""NVM models made by others, as posed images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.posed_images import Imported, Pairing, PosedImage, PosedImages, import_posed_images
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.exchange.nvm import NvmModel, nvm_camera, read_nvm
from hfnet_core.types import Camera

__all__ = ["import_nvm", "nvm_cameras", "posed_images_of_nvm", "sizes_below"]

_log = logging.getLogger(__name__)


def posed_images_of_nvm(
    path: Path, cameras: Mapping[str, Camera], renamed: Callable[[str], str] = lambda name: name
) -> PosedImages:
    """What an NVM model says of its images; cameras: of each of them by name, as renamed, or they are left out.

    renamed: from a name in the model to that of the file. Raises DatasetError for a damaged file, MapError where no
    image has a camera.
    """
    model = read_nvm(path)
    known = [index for index, image in enumerate(model.images) if renamed(image.name) in cameras]
    if not known:
        raise MapError(f"{path}: none of its {len(model.images)} images has known intrinsics: are they of this model?")
    if len(known) < len(model.images):
        left = next(image.name for index, image in enumerate(model.images) if index not in set(known))
        _log.warning("%s: %d images have no intrinsics, %s first", path, len(model.images) - len(known), left)
    images = [_posed(model, index, cameras, renamed) for index in known]
    place = np.full(len(model.images), -1, dtype=np.int64)
    place[known] = np.arange(len(known))
    seen = np.column_stack([model.seen[:, 0], place[model.seen[:, 1]]])
    return PosedImages(str(path), images, len(model.points_xyz), seen[seen[:, 1] >= 0], "NVM model")


def import_nvm(
    path: Path,
    images: Path,
    tools: BuildTools,
    *,
    cameras: Mapping[str, Camera] | None = None,
    frame_id: str = "map",
    pairing: Pairing | None = None,
) -> Imported:
    """A map from an NVM model and the folder its images lie in; see `import_posed_images`.

    cameras: of each image by name; without them the model's own, with a principal point in the middle. Raises as well
    DatasetError where the model is damaged.
    """
    known = nvm_cameras(path, images) if cameras is None else cameras
    posed = posed_images_of_nvm(path, known)
    return import_posed_images(posed, images, tools, frame_id=frame_id, pairing=pairing)


def _posed(model: NvmModel, index: int, cameras: Mapping[str, Camera], renamed: Callable[[str], str]) -> PosedImage:
    image = model.images[index]
    name = renamed(image.name)
    return PosedImage(name, cameras[name], image.camera_from_world.inverse())


def nvm_cameras(path: Path, folder: Path, renamed: Callable[[str], str] = lambda name: name) -> dict[str, Camera]:
    """What the model itself says of each image's camera, by the name of its file below a folder.

    Images of one folder that has any that can be read; others are left out. Raises DatasetError for a damaged model.
    """
    sizes = sizes_below(folder)
    found = {renamed(image.name): (image, sizes(renamed(image.name))) for image in read_nvm(path).images}
    return {name: camera_of(nvm_camera(image, size)) for name, (image, size) in found.items() if size is not None}


def sizes_below(folder: Path) -> Callable[[str], tuple[int, int] | None]:
    """(width, height) of images by name: one image of each folder is read, the others are like it. None where none can
    be read."""
    known: dict[str, tuple[int, int] | None] = {}

    def size(name: str) -> tuple[int, int] | None:
        path = folder / name
        own = str(PurePosixPath(name).parent)
        if own not in known:
            alike = sorted(path.parent.glob(f"*{path.suffix}"))
            known[own] = next((found for one in (path, *alike) if (found := _size(one)) is not None), None)
        return known[own]

    return size


def _size(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_image(path).shape[:2]
    except DatasetError:
        return None  # said when its turn comes
    return width, height
