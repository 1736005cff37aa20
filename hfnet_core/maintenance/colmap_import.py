"""COLMAP models made by others (COLMAP or pycolmap with SIFT, hloc), described anew with our features.

Poses and calibration are the model's and stay; its points only say which images see the same things. Our own keypoints
are matched between those and triangulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.images.reading import read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import at_full_range
from hfnet_core.maintenance.joint import Cameras, Member, join, to_map
from hfnet_core.mapping.keyframes.reading import BuildTools, described
from hfnet_core.maps.assembly import covisibility
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_model import ColmapModel
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera

__all__ = ["Imported", "import_colmap_model"]

_MIN_SHARED = 15  # points that two images of the model share, to be worth matching


@dataclass(frozen=True, eq=False)
class Imported:
    """The map, and the names of the model's images that were not in the folder and so left out."""

    landmark_map: LandmarkMap
    missing: tuple[str, ...]


def import_colmap_model(folder: Path, images: Path, tools: BuildTools, *, frame_id: str = "map") -> Imported:
    """A map from a COLMAP model, binary or text, and the folder its images lie in.

    The map has the frame and the scale of the model. Raises MapError for a model that cannot be read, has a camera
    model we lack, or too little to triangulate; DatasetError where images are damaged, of another size, or all missing.
    """
    config, progress = tools.config, tools.progress
    if not images.is_dir():
        raise DatasetError(f"{images}: no such folder of images")
    model = read_model(folder)
    registered = sorted(model.images.values(), key=lambda image: image.name)
    present = [image for image in registered if (images / image.name).is_file()]
    missing = tuple(image.name for image in registered if not (images / image.name).is_file())
    if len(present) < 2:
        named = f", {missing[0]} for example is missing" if missing else ""
        raise DatasetError(f"{images}: holds {len(present)} of {len(registered)} images of {folder}{named}")
    cameras = Cameras()
    members: list[Member] = []
    views = [(image, camera_of(model.cameras[image.camera_id])) for image in present]
    bits = significant_bits_of([images / image.name for image in present])
    pixels = ((view, at_full_range(_read(images / view[0].name, view[1]), bits)) for view in views)
    for (image, camera), _, features in described(pixels, tools.extractor, tools.workspace):
        pose = image.camera_from_world.inverse()
        place = cameras.index(camera, camera)
        members.append(Member(image.name, -1, place, pose, features, 1.0, len(members)))
        progress("extracting features", len(members), len(present))
    pairs = list(_pairs(model, {image.image_id: index for index, image in enumerate(present)}, config))
    joined = join(members, cameras.current, pairs, config, progress=progress, refine_poses=False)
    if not len(joined.points):
        raise MapError(f"{folder}: no landmark could be triangulated from {len(present)} images and {len(pairs)} pairs")
    info = tools.extractor.info
    provenance = {
        "recordings": [
            {
                "source": "COLMAP model",
                "images": len(registered),
                "missing_images": len(missing),
                "points": len(model.point_ids),
                "scale": "of the model",
            }
        ],
        "history": [{"step": "import", "pairs": len(pairs)}],
        "model": {"name": info.name, "version": info.version},
    }
    landmark_map = to_map(
        members,
        joined,
        cameras.given,
        pose_sigma=(0.0, 0.0),
        model_hash=info.model_hash,
        frame_id=frame_id,
        provenance=provenance,
        descriptor_dtype=config.descriptor_dtype,
    )
    return Imported(landmark_map, missing)


def _read(path: Path, camera: Camera) -> NDArray[Any]:
    image: NDArray[Any] = read_image(path, (camera.width, camera.height))
    if image.shape[1::-1] != (camera.width, camera.height):
        raise DatasetError(
            f"{path}: is {image.shape[1]}x{image.shape[0]}, the model's camera {camera.width}x{camera.height}: give "
            "the folder of the images that the model was made from"
        )
    return image


def _pairs(model: ColmapModel, place: Mapping[int, int], config: MapBuildConfig) -> Iterator[tuple[int, int]]:
    """Each image with those that share most points with it."""
    known = np.array([image_id in place for image_id in model.tracks[:, 1].tolist()], dtype=bool)
    points = model.tracks[known, 0]
    images = np.array([place[image_id] for image_id in model.tracks[known, 1].tolist()], dtype=np.int64)
    offsets, others, _ = covisibility(points, images, len(model.point_ids), len(place), _MIN_SHARED)
    for index in range(len(place)):
        for other in others[offsets[index] : offsets[index + 1]][: config.pairs_per_keyframe]:
            yield min(index, int(other)), max(index, int(other))
