"""Maps to COLMAP models and back.

COLMAP puts (0, 0) at the corner of the top-left pixel, we at its centre: half a pixel is added on export and taken on
import. What COLMAP has no place for (descriptors, stamps, hashes) lies beside the model in `hfmap.safetensors`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError, HFNetError, MapError
from hfnet_core.extras import later
from hfnet_core.files import whole_file
from hfnet_core.maps.assembly import assemble_map
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.maps.colmap_model import ColmapModel, ModelCamera
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.maps.description import checked_description, parse_json
from hfnet_core.maps.descriptors import DTYPES, unit
from hfnet_core.maps.landmark_map import OF_LANDMARKS, LandmarkMap
from hfnet_core.maps.tensor_file import TensorFile, read_tensors, write_tensors
from hfnet_core.types import Camera, Features

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["camera_of", "export_colmap", "export_ply", "import_colmap"]

_SIDECAR = "hfmap.safetensors"
_OF_SCALES = ("scale_factors", "scaled_descriptors")
_HALF_PIXEL = 0.5
_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_COLOURS = ("red", "green", "blue")


def export_colmap(landmark_map: LandmarkMap, folder: Path, *, text: bool = False) -> None:
    """Write cameras, images and points as a COLMAP model, binary or text, and our arrays beside it.

    The folder is complete or not there. Raises ConfigError if it exists, DatasetError where there is no room for it.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: exists already; remove it or choose another name")
    if not folder.parent.is_dir():
        raise ConfigError(f"{folder.parent}: no such directory to write a model into")
    reconstruction = _to_reconstruction(landmark_map)
    try:
        building = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        if text:
            reconstruction.write_text(building)
        else:
            reconstruction.write_binary(building)
        _check_written(building, landmark_map, folder)
        _write_sidecar(landmark_map, building / _SIDECAR)
        building.chmod(0o755)
        building.rename(folder)
    except (OSError, MapError) as error:
        reason = getattr(error, "strerror", None) or "no room for all of it"
        raise DatasetError(f"{folder}: cannot be written ({reason}); make room or choose another disk") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _check_written(building: Path, landmark_map: LandmarkMap, folder: Path) -> None:
    """Raises DatasetError where pycolmap, which does not say so, ran out of room."""
    try:
        written = read_model(building)
    except HFNetError as error:
        raise DatasetError(f"{folder}: could not be written completely; make room or choose another disk") from error
    if (len(written.images), len(written.point_ids)) != (landmark_map.keyframes, landmark_map.landmarks):
        raise DatasetError(f"{folder}: could not be written completely; make room or choose another disk")


def export_ply(landmark_map: LandmarkMap, path: Path) -> None:
    """Write the landmarks as a point cloud, brighter the more keyframes see them; complete or not at all."""
    vertices = np.zeros(landmark_map.landmarks, _VERTEX)
    vertices["xyz"] = landmark_map.landmarks_xyz
    shades = np.minimum(255, 40 + 30 * np.diff(landmark_map.landmark_offsets))
    vertices["rgb"] = shades[:, None]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {name}" for name in "xyz"] + [f"property uchar {name}" for name in _COLOURS]
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join([*lines, "end_header\n"]).encode("ascii"))
        file.write(vertices.tobytes())


def _shifted(camera: Camera, by: float) -> Camera:
    n = len(camera.focal_parameters)
    params = list(camera.params)
    params[n] += by
    params[n + 1] += by
    return Camera(camera.model, camera.width, camera.height, tuple(params))


def _to_reconstruction(landmark_map: LandmarkMap) -> pycolmap.Reconstruction:
    out = pycolmap.Reconstruction()
    for index, camera in enumerate(landmark_map.cameras):
        out.add_camera_with_trivial_rig(to_pycolmap(_shifted(camera, _HALF_PIXEL), index + 1))
    position = np.zeros(landmark_map.observations, dtype=np.int64)
    for index, name in enumerate(landmark_map.keyframe_names):
        rows = landmark_map.observations_of(index)
        position[rows] = np.arange(len(rows))
        image = pycolmap.Image(
            name=name,
            keypoints=landmark_map.observation_px[rows].astype(np.float64) + _HALF_PIXEL,
            camera_id=int(landmark_map.keyframe_cameras[index]) + 1,
            image_id=index + 1,
        )
        camera_from_map = landmark_map.map_from_camera(index).inverse().matrix()[:3]
        out.add_image_with_trivial_frame(image, pycolmap.Rigid3d(camera_from_map))
    for landmark in range(landmark_map.landmarks):
        seen = range(landmark_map.landmark_offsets[landmark], landmark_map.landmark_offsets[landmark + 1])
        elements = [
            pycolmap.TrackElement(int(landmark_map.observation_keyframes[row]) + 1, int(position[row])) for row in seen
        ]
        out.add_point3D_with_id(
            landmark + 1,
            pycolmap.Point3D(
                xyz=landmark_map.landmarks_xyz[landmark].astype(np.float64), track=pycolmap.Track(elements)
            ),
        )
    return out


def _write_sidecar(landmark_map: LandmarkMap, path: Path) -> None:
    order = landmark_map.keyframe_observations
    arrays: dict[str, NDArray[Any]] = {
        "keypoint_descriptors": np.asarray(landmark_map.observation_descriptors)[order],
        "keypoint_offsets": np.asarray(landmark_map.keyframe_offsets),
        "global_descriptors": np.asarray(landmark_map.global_descriptors),
        "stamps_ns": np.asarray(landmark_map.keyframe_stamps_ns),
        **{name: np.asarray(getattr(landmark_map, name)) for name in (*OF_LANDMARKS, *_OF_SCALES)},
    }
    description = {
        "names": list(landmark_map.keyframe_names),
        "model_hash": landmark_map.model_hash,
        "frame_id": landmark_map.frame_id,
        "provenance": landmark_map.provenance,
        "given_cameras": [asdict(camera) for camera in landmark_map.given_cameras],
        "pose_sigma": [landmark_map.pose_sigma_m, landmark_map.pose_sigma_rad],
    }
    text = json.dumps(description, sort_keys=True, default=float)
    write_tensors(path, arrays, {"format": "hfmap-colmap", "description": text})


def import_colmap(folder: Path) -> LandmarkMap:
    """Read a model written by `export_colmap`, perhaps refined by COLMAP in between.

    Poses, cameras and points are the model's, descriptors come from beside it.

    Images and points that were removed stay away; keypoints must be the exported ones. Raises MapError otherwise,
    DatasetError where the model is damaged.
    """
    if not folder.is_dir():
        raise MapError(f"{folder}: no such COLMAP model")
    sidecar = folder / _SIDECAR
    if not sidecar.is_file():
        raise MapError(
            f"{folder}: has no {_SIDECAR}, so it was not exported by `hfnet map export`: give its images with "
            "--images, to describe them with our features"
        )
    stored = read_tensors(sidecar, verify=True, accept=lambda metadata: None)
    model = read_model(folder)
    return _from_reconstruction(model, stored, folder)


def _from_reconstruction(model: ColmapModel, stored: TensorFile, folder: Path) -> LandmarkMap:
    _check_sidecar(stored, folder)
    try:
        content = parse_json(stored.metadata["description"])
        names, sigma = content["names"], content["pose_sigma"]
        known = checked_description(
            {
                **content,
                "cameras": [],
                "keyframe_names": names,
                "pose_sigma_m": sigma[0],
                "pose_sigma_rad": sigma[1],
            }
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MapError(f"{folder / _SIDECAR}: its description is damaged; export the map again") from error
    except MapError as error:
        raise MapError(f"{folder / _SIDECAR}: {error}; export the map again") from error
    place = {name: index for index, name in enumerate(known.keyframe_names)}
    offsets = stored.arrays["keypoint_offsets"]
    if len(place) != len(offsets) - 1:
        raise MapError(f"{folder / _SIDECAR}: its names and arrays differ in number; export the map again")
    camera_ids = sorted(model.cameras)
    images = sorted(model.images.values(), key=lambda image: place.get(image.name, -1))
    features, index_of = [], {}
    for position, image in enumerate(images):
        original = place.get(image.name)
        rows = slice(offsets[original], offsets[original + 1]) if original is not None else slice(0, 0)
        if original is None or rows.stop - rows.start != len(image.keypoints_px):
            raise MapError(f"{folder}: image {image.name!r} is not as exported; only poses and points may change")
        pixels = image.keypoints_px - _HALF_PIXEL
        camera = model.cameras[image.camera_id]
        features.append(
            Features(
                pixels.astype(np.float32),
                np.ones(len(pixels), np.float32),
                unit(stored.arrays["keypoint_descriptors"][rows]),
                stored.arrays["global_descriptors"][original],
                camera.width,
                camera.height,
            )
        )
        index_of[image.image_id] = position
    table = model.tracks.copy()
    table[:, 1] = [index_of[image_id] for image_id in model.tracks[:, 1].tolist()]
    built = assemble_map(
        names=[image.name for image in images],
        stamps_ns=[int(stored.arrays["stamps_ns"][place[image.name]]) for image in images],
        view_cameras=[camera_ids.index(image.camera_id) for image in images],
        poses=[image.camera_from_world.inverse() for image in images],
        cameras=[camera_of(model.cameras[camera_id]) for camera_id in camera_ids],
        given_cameras=_given_of(known.given_cameras, camera_ids),
        features=features,
        points=model.points_xyz,
        rows=table,
        pose_sigma=(known.pose_sigma_m, known.pose_sigma_rad),
        model_hash=known.model_hash,
        frame_id=known.frame_id,
        provenance=known.provenance,
        descriptor_dtype=stored.arrays["keypoint_descriptors"].dtype.name,
    )
    return replace(built, **_of_landmarks(stored, model.point_ids - 1, folder), **_of_scales(stored, model, folder))


def _given_of(given: Sequence[Camera], camera_ids: Sequence[int]) -> tuple[Camera, ...]:
    """Of the model's cameras, which are fewer where COLMAP took out one that no image has any more; none where one of
    them is new."""
    if not all(1 <= camera_id <= len(given) for camera_id in camera_ids):
        return ()
    return tuple(given[camera_id - 1] for camera_id in camera_ids)


def _of_scales(stored: TensorFile, model: ColmapModel, folder: Path) -> dict[str, Any]:
    """What landmarks look like at other scales, where the map knows that; points that are new look like nothing.
    Raises MapError."""
    factors, told = (stored.arrays.get(name, np.zeros(0)) for name in _OF_SCALES)
    if not len(factors):
        return {}
    size = stored.arrays["keypoint_descriptors"].shape[1]
    fits = factors.ndim == 1 and told.ndim == 3 and told.shape[::2] == (len(factors), size)
    if not fits or factors.dtype != np.float32 or told.dtype not in DTYPES.values():
        raise MapError(f"{folder / _SIDECAR}: {_OF_SCALES[1]} are not those of an exported map; export the map again")
    numbers = model.point_ids - 1
    known = numbers < told.shape[1]
    looks = told[:, np.where(known, numbers, 0)] * known[None, :, None].astype(told.dtype)
    return {"scale_factors": np.array(factors), "scaled_descriptors": np.ascontiguousarray(looks)}


def _of_landmarks(stored: TensorFile, numbers: NDArray[np.int64], folder: Path) -> dict[str, Any]:
    """What is told of each landmark beside its place, for those with these numbers in the exported map; nothing of
    points that are new. Raises MapError."""
    out: dict[str, Any] = {}
    for name in OF_LANDMARKS:
        told = stored.arrays.get(name, np.zeros(0))  # of a model exported before there were any
        if told.ndim != 1 or not (np.isfinite(told).all() and (told >= 0).all()):
            raise MapError(f"{folder / _SIDECAR}: {name} are not those of an exported map; export the map again")
        if len(told):
            known = numbers < len(told)
            out[name] = np.where(known, told[np.where(known, numbers, 0)], 0).astype(told.dtype)
    return out


def _check_sidecar(stored: TensorFile, folder: Path) -> None:
    """Raises MapError unless its arrays are those of `_write_sidecar`, of sizes that fit each other."""
    wanted = {"keypoint_descriptors": 2, "keypoint_offsets": 1, "global_descriptors": 2, "stamps_ns": 1}
    arrays = {name: stored.arrays.get(name, np.zeros(())) for name in wanted}
    fits = all(arrays[name].ndim == dimensions for name, dimensions in wanted.items())
    if fits:
        offsets, total = arrays["keypoint_offsets"], len(arrays["keypoint_descriptors"])
        fits = (
            len(offsets) == len(arrays["stamps_ns"]) + 1 == len(arrays["global_descriptors"]) + 1
            and offsets.dtype == arrays["stamps_ns"].dtype == np.int64
            and bool(offsets[0] == 0 and offsets[-1] == total and (np.diff(offsets) >= 0).all())
            and arrays["keypoint_descriptors"].dtype in DTYPES.values()
        )
    if not fits:
        raise MapError(f"{folder / _SIDECAR}: its arrays are not those of an exported map; export the map again")


def camera_of(camera: ModelCamera) -> Camera:
    """A camera of a COLMAP model in our pixels. Raises MapError for a camera model that we lack."""
    try:
        read = Camera(camera.model, camera.width, camera.height, camera.params)
    except ConfigError as error:
        raise MapError(f"COLMAP camera {camera.camera_id}: {error}") from error
    return _shifted(read, -_HALF_PIXEL)
