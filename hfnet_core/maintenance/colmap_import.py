"""COLMAP models made by others (COLMAP or pycolmap with SIFT, hloc), described anew with our features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.maintenance.posed_images import Imported, Pairing, PosedImage, PosedImages, import_posed_images
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_model import ColmapModel
from hfnet_core.maps.colmap_reading import read_model

__all__ = ["Imported", "import_colmap_model", "posed_images_of"]


def import_colmap_model(
    folder: Path, images: Path, tools: BuildTools, *, frame_id: str = "map", pairing: Pairing | None = None
) -> Imported:
    """A map from a COLMAP model, binary or text, and the folder its images lie in; see `import_posed_images`.

    Raises MapError as well for a model that cannot be read, or has a camera model we lack.
    """
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder of images")
    posed = posed_images_of(read_model(folder), str(folder))
    return import_posed_images(posed, images, tools, frame_id=frame_id, pairing=pairing)


def posed_images_of(model: ColmapModel, source: str) -> PosedImages:
    """What a COLMAP model says of its images. Raises MapError for a camera model that we lack."""
    cameras = {camera_id: camera_of(camera) for camera_id, camera in model.cameras.items()}
    registered = list(model.images.values())
    images = [PosedImage(item.name, cameras[item.camera_id], item.camera_from_world.inverse()) for item in registered]
    place = {item.image_id: index for index, item in enumerate(registered)}
    seen_by = np.array([place[image_id] for image_id in model.tracks[:, 1].tolist()], dtype=np.int64)
    seen = np.column_stack([model.tracks[:, 0], seen_by]).astype(np.int64)
    return PosedImages(source, images, len(model.point_ids), seen)
