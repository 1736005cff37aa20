"""NVM models made by others, as posed images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from hfnet_core.errors import MapError
from hfnet_core.maintenance.posed_images import PosedImage, PosedImages
from hfnet_core.maps.exchange.nvm import NvmModel, read_nvm
from hfnet_core.types import Camera

__all__ = ["posed_images_of_nvm"]

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


def _posed(model: NvmModel, index: int, cameras: Mapping[str, Camera], renamed: Callable[[str], str]) -> PosedImage:
    image = model.images[index]
    name = renamed(image.name)
    return PosedImage(name, cameras[name], image.camera_from_world.inverse())
