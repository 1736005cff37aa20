"""Features on SfM models of tourist photos with depth maps: the paper's second data set.

`<scene>/dense/{images, sparse, stereo/depth_maps_clean_300_th_0.10/NAME.h5}`, `scales.txt` (`SCENE METRES_PER_UNIT`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.feature_protocols.hpatches import Budget
from hfnet_core.benchmarks.feature_protocols.pair_metrics import (
    Ranked,
    View,
    average_precision,
    descriptor_scores,
    detector_scores,
)
from hfnet_core.errors import DatasetError, first_line
from hfnet_core.extras import later
from hfnet_core.files import read_text
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.images.pixels import as_uint8
from hfnet_core.images.reading import read_image
from hfnet_core.limits import IMAGE
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_model import ColmapModel, ModelImage
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.projection import project_in_camera, rays_of
from hfnet_core.types import Camera, Features

if TYPE_CHECKING:
    import h5py
else:
    h5py = later("h5py")

__all__ = ["DepthView", "SfmScores", "evaluate_scene", "pairs_of_scene", "read_scales", "score_pairs"]

_DEPTHS = "depth_maps_clean_300_th_0.10"
_PAGE = "the image matching benchmark of the CVPR 2019 workshop, its training scenes"
_MOST_PAIRS, _LEAST_COVISIBLE = 50, 0.4
_LONGEST_PX = 640
_CONSISTENT = 0.1  # of the depth: what differs more is hidden by something else
_MATCH_PX = 5.0
_RANSAC_ROUNDS, _RANSAC_PX = 1000, 5.0
_RIGHT_M, _RIGHT_DEG = 3.0, 1.0
_SEED = 0


@dataclass(frozen=True, eq=False)
class DepthView:
    """An image with its camera, pose and depth [H, W] along the optical axis in the model's units, 0 where unknown."""

    name: str
    image: NDArray[np.uint8]
    camera: Camera
    world_from_camera: Pose
    depth: NDArray[np.float32]


@dataclass(frozen=True)
class SfmScores:
    """As in the paper's tables, shares 0..1. pose: share of pairs within 3 m and 1 degree."""

    pairs: int
    repeatability: float
    localization_px: float
    detector_map: float
    matching_score: float
    descriptor_map: float
    pose: float


def read_scales(path: Path) -> dict[str, float]:
    """Metres per unit of each scene. Raises DatasetError naming the line."""
    out = {}
    for number, line in enumerate(read_text(path, "scales of scenes").splitlines(), start=1):
        words = line.split("#")[0].split()
        if words:
            try:
                scene, value = words[0], float(words[1])
            except (IndexError, ValueError) as error:
                raise DatasetError(f"{path}, line {number}: is not SCENE METRES_PER_UNIT") from error
            if not 0 < value < 1e6:
                raise DatasetError(f"{path}, line {number}: {value} is no scale")
            out[scene] = value
    return out


def evaluate_scene(
    extract: Callable[[NDArray[Any]], Features], scene: Path, scale: float, budget: Budget | None = None
) -> SfmScores:
    """Scores over up to 50 pairs of a scene, see `pairs_of_scene`. scale: metres per unit.

    Raises DatasetError where files are missing, MissingExtraError without h5py.
    """
    return score_pairs(extract, pairs_of_scene(scene), scale, budget or Budget(1000, 4))


def pairs_of_scene(scene: Path) -> Iterator[tuple[DepthView, DepthView]]:
    """Pairs of images at least 0.4 of whose points are common, of the image with fewer; seeded choice of 50."""
    dense = scene / "dense"
    for part in ("images", "sparse", f"stereo/{_DEPTHS}"):
        if not (dense / part).is_dir():
            raise DatasetError(f"{dense / part}: no such folder; from {_PAGE}")
    model = read_model(dense / "sparse")
    images = {image.name: image for image in model.images.values()}
    for first, second in _covisible(model):
        yield _loaded(dense, images[first], model), _loaded(dense, images[second], model)


def _covisible(model: ColmapModel) -> list[tuple[str, str]]:
    seen = {image.name: np.unique(image.points[image.points >= 0]) for image in model.images.values()}
    names = sorted(seen)
    pairs = [
        (one, other)
        for index, one in enumerate(names)
        for other in names[index + 1 :]
        if len(np.intersect1d(seen[one], seen[other], assume_unique=True))
        >= _LEAST_COVISIBLE * max(min(len(seen[one]), len(seen[other])), 1)
    ]
    chosen = np.random.default_rng(_SEED).permutation(len(pairs))[:_MOST_PAIRS]
    return [pairs[index] for index in sorted(chosen)]


def _loaded(dense: Path, image: ModelImage, model: ColmapModel) -> DepthView:
    camera = camera_of(model.cameras[image.camera_id])
    pixels = read_image(dense / "images" / image.name, (camera.width, camera.height))
    path = dense / "stereo" / _DEPTHS / str(PurePosixPath(image.name).with_suffix(".h5"))
    scale = _LONGEST_PX / max(camera.width, camera.height)
    size = (round(camera.width * scale), round(camera.height * scale))
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    depth = cv2.resize(_depth(path), size, interpolation=cv2.INTER_NEAREST)  # a mean over an edge is nowhere
    return DepthView(
        image.name,
        as_uint8(np.asarray(smaller)),
        camera.scaled(*size),
        image.camera_from_world.inverse(),
        np.asarray(depth, np.float32),
    )


def _depth(path: Path) -> NDArray[np.float32]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such depth map; from {_PAGE}")
    try:
        with h5py.File(str(path), "r") as file:
            stored = file["depth"]
            fits = isinstance(stored, h5py.Dataset) and stored.ndim == 2 and stored.dtype.kind == "f"
            if not fits or stored.size > IMAGE.value() or stored.is_virtual or stored.external:
                raise DatasetError(f"{path}: its `depth` is no map of numbers [H, W] within the limit of {IMAGE}")
            values = stored[()].astype(np.float32)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as a depth map ({first_line(error)})") from error
    known: NDArray[np.float32] = np.where(np.isfinite(values) & (values > 0), values, np.float32(0))
    return known


def score_pairs(
    extract: Callable[[NDArray[Any]], Features],
    pairs: Iterator[tuple[DepthView, DepthView]] | Sequence[tuple[DepthView, DepthView]],
    scale: float,
    budget: Budget,
) -> SfmScores:
    """The scores of pairs. Raises DatasetError where there are none."""
    rows: list[tuple[float, float, float, float]] = []
    detected: list[Ranked] = []
    matched: list[Ranked] = []
    for one, other in pairs:
        a, b = budget.applied(extract(one.image)), budget.applied(extract(other.image))
        first, second = _view(a, one, other), _view(b, other, one)
        detector, descriptor = detector_scores(first, second), descriptor_scores(first, second, _MATCH_PX)
        posed = _pose_is_right(a, one, b, other, descriptor.matches, scale)
        rows.append((detector.repeatability, detector.localization_px, descriptor.matching_score, posed))
        detected.append(detector.ranked)
        matched.append(descriptor.ranked)
    if not rows:
        raise DatasetError("no two images of the scene see enough in common")
    repeatability, localization, matching, pose = np.array(rows).T
    known = localization[np.isfinite(localization)]
    error = float(known.mean()) if len(known) else float("nan")
    return SfmScores(
        len(rows),
        float(repeatability.mean()),
        error,
        average_precision(detected),
        float(matching.mean()),
        average_precision(matched),
        float(pose.mean()),
    )


def _lifted(features: Features, view: DepthView) -> tuple[Array, NDArray[np.bool_]]:
    """World points [K, 3] of keypoints, and for which the depth is known."""
    height, width = view.depth.shape
    x, y = np.rint(features.keypoints_px).astype(np.int64).T
    depth = view.depth[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].astype(float)
    rays = rays_of(view.camera, features.keypoints_px)
    points = rays / np.maximum(rays[:, 2:], 1e-9) * depth[:, None]
    return view.world_from_camera.apply(points), depth > 0


def _view(own: Features, from_view: DepthView, to_view: DepthView) -> View:
    """Warped through depth; visible where depth is known, the point inside, and the other view's depth agrees."""
    points, known = _lifted(own, from_view)
    seen = to_view.world_from_camera.inverse().apply(points)
    there = np.asarray(project_in_camera(to_view.camera, seen), float)
    height, width = to_view.depth.shape
    usable = known & (seen[:, 2] > 0) & np.isfinite(there).all(axis=1)
    inside = usable & ((there >= 0) & (there <= [width - 1, height - 1])).all(axis=1)
    column, row = np.rint(np.where(inside[:, None], there, 0)).astype(np.int64).T
    measured = to_view.depth[row, column].astype(float)
    agrees = (measured > 0) & (np.abs(measured - seen[:, 2]) < _CONSISTENT * np.maximum(measured, 1e-9))
    return View(own, np.where(usable[:, None], there, np.inf), inside & agrees)


def _pose_is_right(
    a: Features, one: DepthView, b: Features, other: DepthView, matches: NDArray[np.int64], scale: float
) -> float:
    """Whether the first image, by points that the second one's depth gives, is found within the limits."""
    if not len(a) or not len(b):
        return 0.0
    points, known = _lifted(b, other)
    used = known[matches]
    if np.count_nonzero(used) < 4:
        return 0.0
    rays = rays_of(one.camera, a.keypoints_px[used])
    plane, focal = rays[:, :2] / np.maximum(rays[:, 2:], 1e-9), float(np.mean(one.camera.focal_length))
    cv2.setRNGSeed(_SEED)
    found, rotation, translation, _ = cv2.solvePnPRansac(
        points[matches][used],
        plane,
        np.eye(3),
        np.zeros(0),
        iterationsCount=_RANSAC_ROUNDS,
        reprojectionError=_RANSAC_PX / focal,
        flags=cv2.SOLVEPNP_P3P,
    )
    if not found:
        return 0.0
    camera_from_world = Pose(cv2.Rodrigues(rotation)[0], translation.reshape(3))
    metres, degrees = pose_error(camera_from_world.inverse(), one.world_from_camera)
    return float(metres * scale <= _RIGHT_M and degrees <= _RIGHT_DEG)
