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
import pycolmap
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.joint import Cameras, Member, join, to_map
from hfnet_core.mapping.keyframes.reading import BuildTools, described
from hfnet_core.maps.assembly import covisibility
from hfnet_core.maps.colmap import camera_of, read_model
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
    registered = sorted((model.image(index) for index in model.reg_image_ids()), key=lambda image: image.name)
    present = [image for image in registered if (images / image.name).is_file()]
    missing = tuple(image.name for image in registered if not (images / image.name).is_file())
    if len(present) < 2:
        named = f", {missing[0]} for example is missing" if missing else ""
        raise DatasetError(f"{images}: holds {len(present)} of {len(registered)} images of {folder}{named}")
    cameras = Cameras()
    members: list[Member] = []
    views = [(image, camera_of(model.camera(image.camera_id))) for image in present]
    pixels = ((view, _read(images / view[0].name, view[1])) for view in views)
    for (image, camera), _, features in described(pixels, tools.extractor, tools.workspace):
        pose = Pose.from_matrix(image.cam_from_world().inverse().matrix())
        place = cameras.index(camera, camera)
        members.append(Member(image.name, -1, place, pose, features, 1.0, len(members)))
        progress("extracting features", len(members), len(present))
    pairs = list(_pairs(model, {image.image_id: index for index, image in enumerate(present)}, config))
    joined = join(members, cameras.current, pairs, config, progress=progress, refine_poses=False)
    if not len(joined.points):
        raise MapError(f"{folder}: no landmark could be triangulated from {len(present)} images and {len(pairs)} pairs")
    info = tools.extractor.info
    provenance = {
        "recordings": [{"source": "COLMAP model", "images": len(registered), "missing_images": len(missing),
                        "points": model.num_points3D(), "scale": "of the model"}],
        "history": [{"step": "import", "pairs": len(pairs)}],
        "model": {"name": info.name, "version": info.version},
    }  # fmt: skip
    landmark_map = to_map(
        members, joined, cameras.given, pose_sigma=(0.0, 0.0), model_hash=info.model_hash, frame_id=frame_id,
        provenance=provenance, descriptor_dtype=config.descriptor_dtype,
    )  # fmt: skip
    return Imported(landmark_map, missing)


def _read(path: Path, camera: Camera) -> NDArray[Any]:
    image: NDArray[Any] = read_image(path, (camera.width, camera.height))
    if image.shape[1::-1] != (camera.width, camera.height):
        raise DatasetError(
            f"{path}: is {image.shape[1]}x{image.shape[0]}, the model's camera {camera.width}x{camera.height}: give "
            "the folder of the images that the model was made from"
        )
    return image


def _pairs(
    model: pycolmap.Reconstruction, place: Mapping[int, int], config: MapBuildConfig
) -> Iterator[tuple[int, int]]:
    """Each image with those that share most points with it."""
    seen = [
        (place[element.image_id], row)
        for row, point in enumerate(model.points3D.values())
        for element in point.track.elements
        if element.image_id in place
    ]
    images, points = np.array(seen, dtype=np.int64).reshape(-1, 2).T
    offsets, others, _ = covisibility(points, images, model.num_points3D(), len(place), _MIN_SHARED)
    for index in range(len(place)):
        for other in others[offsets[index] : offsets[index + 1]][: config.pairs_per_keyframe]:
            yield min(index, int(other)), max(index, int(other))
