"""pycolmap's incremental mapper on our own features and matches.

The incremental mapper was chosen over the global one by measurement: on unordered photos of unknown cameras it finds
consistent focal lengths where the global one does not, and on short drives it costs about the same.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.extras import later
from hfnet_core.geometry import Pose
from hfnet_core.mapping.depth.scale import Seen
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.pairing.image_pairs import Pairs
from hfnet_core.mapping.quiet import quiet
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.progress import Progress, silent
from hfnet_core.projection import refinable
from hfnet_core.types import Camera

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["Structure", "cameras_of", "reconstruct"]

_SEED = 0
_MIN_VIEWS = 3
_AHEAD_DEG = 8.0  # half of what two images usually have to begin with: ahead, only what is beside shows an angle
_MAX_FOCAL_CHANGE = 0.3  # of its logarithm
_SQUARE = 0.01  # pixels whose sides differ by less are as good as square


@dataclass(frozen=True, eq=False)
class Structure:
    """The largest part that could be reconstructed, up to a similarity.

    poses: structure_from_camera, None where an image did not register. cameras: refined, one for each image.
    depth: median distance of what is seen. parts: registered images of every part found. seen: of each image the
    keypoints [N] that became points, and how far away these are [N] along its axis.
    """

    poses: list[Pose | None]
    cameras: list[Camera]
    depth: float
    reprojection_px: float
    parts: list[int]
    seen: list[Seen]


def reconstruct(
    keyframes: Sequence[Keyframe], pairs: Pairs, config: MapBuildConfig, progress: Progress = silent
) -> Structure:
    """Poses and calibrations from verified matches. Raises DatasetError where nothing can be put together.

    Where the mapper carries a given calibration far off, as it may with a handful of images, it stays as given. Where
    it finds no two images to begin with, the camera may have moved straight ahead all the time: then such ones will do.
    """
    cameras, owners = cameras_of(keyframes, config)
    known = [owner for owner, keyframe in zip(owners, keyframes, strict=True) if not keyframe.camera_guessed]
    with tempfile.TemporaryDirectory(prefix="hfnet-structure-") as folder, quiet():
        database = Path(folder) / "database.db"
        _write_database(database, keyframes, cameras, owners, pairs)
        models, ahead = _run(database, config, len(keyframes), progress), False
        if not _are_together(models, len(keyframes)):
            models, ahead = _run(database, config, len(keyframes), progress, ahead=True), True
        if models and _carried_off(models[0], cameras, known):
            models = _run(database, config, len(keyframes), progress, constant=known, ahead=ahead)
    if not _are_together(models, len(keyframes)):
        raise DatasetError(
            f"{len(keyframes)} images with {len(pairs)} pairs that show the same could not be put together: does the "
            "camera move (turning alone shows no depth), and do the images overlap?"
        )
    best = models[0]
    poses: list[Pose | None] = [None] * len(keyframes)
    for image_id in best.reg_image_ids():
        poses[image_id - 1] = Pose.from_matrix(best.image(image_id).cam_from_world().inverse().matrix())
    found = [
        best.cameras[index + 1] if index + 1 in best.cameras else to_pycolmap(camera)
        for index, camera in enumerate(cameras)
    ]
    refined = [_refined(keyframe.camera, found[owner]) for keyframe, owner in zip(keyframes, owners, strict=True)]
    parts = [model.num_reg_images() for model in models]
    seen = [_seen(best, index + 1) for index in range(len(keyframes))]
    depth = float(np.median([np.median(far) for _, far in seen if len(far)]))
    return Structure(poses, refined, depth, best.compute_mean_reprojection_error(), parts, seen)


def _are_together(models: Sequence[pycolmap.Reconstruction], images: int) -> bool:
    return bool(models) and models[0].num_reg_images() >= min(_MIN_VIEWS, images)


def _carried_off(model: pycolmap.Reconstruction, cameras: Sequence[Camera], known: Collection[int]) -> bool:
    """Whether a calibrated camera's focal length has changed more than any calibration is wrong."""
    focal = {owner: model.cameras[owner + 1].mean_focal_length() for owner in set(known) if owner + 1 in model.cameras}
    changes = [abs(np.log(value / np.mean(cameras[owner].focal_length))) for owner, value in focal.items()]
    return max(changes, default=0.0) > _MAX_FOCAL_CHANGE


def _for_mapper(camera: Camera) -> Camera:
    """A calibrated camera without distortion, with one focal length and room for radial distortion; others as is.

    Two free focal lengths and tangential distortion are more than a short drive determines.
    """
    if camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        return camera
    fx, fy = camera.focal_length
    if abs(fx / fy - 1) > _SQUARE:
        return refinable(camera)
    return Camera("RADIAL", camera.width, camera.height, ((fx + fy) / 2, *camera.params[-2:], 0.0, 0.0))


def _refined(given: Camera, found: pycolmap.Camera) -> Camera:
    """What the mapper found, with the given ratio of the focal lengths where it was told of only one."""
    camera = Camera(found.model_name, found.width, found.height, tuple(found.params))
    if given.model not in ("PINHOLE", "SIMPLE_PINHOLE") or camera.model != "RADIAL":
        return camera
    focal, cx, cy, k1, k2 = camera.params
    mean = float(np.mean(given.focal_length))
    fx, fy = (value * focal / mean for value in given.focal_length)
    return Camera("OPENCV", camera.width, camera.height, (fx, fy, cx, cy, k1, k2, 0.0, 0.0))


def cameras_of(keyframes: Sequence[Keyframe], config: MapBuildConfig) -> tuple[list[Camera], list[int]]:
    """Cameras to start from, and which one each keyframe has; images of unknown cameras may share one."""
    keys: list[tuple[Any, ...]] = []
    for index, keyframe in enumerate(keyframes):
        owner: tuple[int, ...] = ()  # beside the calibration, what tells cameras apart
        if keyframe.camera_guessed:
            each = _each_its_own(keyframe.recording, keyframes, config)
            owner = (keyframe.recording, index) if each else (keyframe.recording,)
        keys.append((keyframe.camera, keyframe.camera_guessed, owner))
    unique = list(dict.fromkeys(keys))
    cameras = [
        camera if guessed or not config.refine_intrinsics else _for_mapper(camera) for camera, guessed, _ in unique
    ]
    numbers = {key: number for number, key in enumerate(unique)}
    return cameras, [numbers[key] for key in keys]


def _each_its_own(recording: int, keyframes: Sequence[Keyframe], config: MapBuildConfig) -> bool:
    if config.unknown_cameras != "auto":
        return config.unknown_cameras == "each"
    sizes = {
        frozenset((item.features.width, item.features.height)) for item in keyframes if item.recording == recording
    }
    return len(sizes) > 1


def _write_database(
    path: Path, keyframes: Sequence[Keyframe], cameras: Sequence[Camera], owners: Sequence[int], pairs: Pairs
) -> None:
    """Image and frame i + 1 is keyframe i, camera and rig c + 1 camera c. Pixels stay ours: see reconstruction.py."""
    guessed = {owner: keyframe.camera_guessed for owner, keyframe in zip(owners, keyframes, strict=True)}
    with pycolmap.Database.open(path) as database, pycolmap.DatabaseTransaction(database):
        for index, camera in enumerate(cameras):
            entry = to_pycolmap(camera, index + 1)
            entry.has_prior_focal_length = not guessed[index]
            database.write_camera(entry, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=index + 1)
            rig.add_ref_sensor(entry.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for index, keyframe in enumerate(keyframes):
            image = pycolmap.Image(name=keyframe.name, camera_id=owners[index] + 1, image_id=index + 1)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=index + 1, rig_id=owners[index] + 1)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(index + 1, keyframe.features.keypoints_px)
        for (first, second), geometry in sorted(pairs.items()):
            database.write_matches(first + 1, second + 1, geometry.inlier_matches)
            database.write_two_view_geometry(first + 1, second + 1, geometry)


def _run(
    database: Path,
    config: MapBuildConfig,
    images: int,
    progress: Progress,
    *,
    constant: Collection[int] = (),
    ahead: bool = False,
) -> list[pycolmap.Reconstruction]:
    """The parts that could be reconstructed, largest first. constant: cameras that stay as they are. ahead: begin with
    images of which one was taken straight ahead of the other, too."""
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = 1  # and a seed: the same images give the same map
    options.random_seed = _SEED
    options.extract_colors = False
    options.min_model_size = _MIN_VIEWS
    options.ba_refine_focal_length = options.ba_refine_extra_params = config.refine_intrinsics
    options.constant_cameras = {owner + 1 for owner in constant}
    if ahead:
        options.mapper.init_max_forward_motion, options.mapper.init_min_tri_angle = 1.0, _AHEAD_DEG
    registered = itertools.count(1)

    def say() -> None:
        progress("registering images", min(next(registered), images), images)

    output = Path(tempfile.mkdtemp(dir=database.parent))
    pycolmap.set_random_seed(_SEED)
    models: Mapping[int, pycolmap.Reconstruction] = pycolmap.incremental_mapping(
        database, database.parent, output, options, next_image_callback=say
    )
    progress("registering images", images, images)
    return sorted(models.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def _seen(model: pycolmap.Reconstruction, image_id: int) -> Seen:
    """Keypoints of an image that became points, and the distances of these; nothing where it did not register."""
    if image_id not in model.images or not model.images[image_id].has_pose:
        return np.zeros(0, np.int64), np.zeros(0)
    image = model.image(image_id)
    matrix = image.cam_from_world().matrix()
    found = [(number, point.point3D_id) for number, point in enumerate(image.points2D) if point.has_point3D()]
    points = np.array([model.point3D(point_id).xyz for _, point_id in found]).reshape(-1, 3)
    return np.array([number for number, _ in found], np.int64), points @ matrix[2, :3] + matrix[2, 3]
