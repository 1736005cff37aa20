"""Triangulation and bundle adjustment through pycolmap, in memory: from matches and poses to tracks.

pycolmap is given our pixels unshifted; as camera and keypoints move together, that changes nothing. Every step runs
in a fixed order, with fixed seeds and one solver thread, so that the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Pose
from hfnet_core.mapping.adjustment import Problem, Trust, adjust
from hfnet_core.mapping.cameras import to_pycolmap
from hfnet_core.types import Camera

__all__ = ["Matches", "Scene", "View", "make_scene", "observations", "refine", "triangulate"]

Matches = Mapping[tuple[int, int], NDArray[np.int32]]
_SEED = 0
_MAX_ITERATIONS = 30


@dataclass(frozen=True, eq=False)
class View:
    """A keyframe as the geometry sees it. keypoints_px: [K, 2]. camera: index into the scene's cameras."""

    name: str
    camera: int
    keypoints_px: NDArray[np.float32]
    map_from_camera: Pose


@dataclass(eq=False)
class Scene:
    """Views, cameras, and the pycolmap reconstruction under construction. Image id of view i is i + 1.

    graph: the correspondences; it must live as long as the reconstruction is worked on.
    """

    reconstruction: pycolmap.Reconstruction
    graph: pycolmap.CorrespondenceGraph
    keypoints_px: list[NDArray[np.float32]]

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.keypoints_px)

    def poses(self) -> list[Pose]:
        """Current map_from_camera of each view."""
        images = (self.reconstruction.image(index + 1) for index in range(self.count))
        return [Pose.from_matrix(image.cam_from_world().inverse().matrix()) for image in images]

    def depths(self) -> NDArray[np.float64]:
        """Distance along the optical axis of every point in every view that sees it."""
        problem, _ = _problem(self)
        return problem.depths()

    def cameras(self) -> list[Camera]:
        """Current calibration of each camera."""
        found = (self.reconstruction.camera(index + 1) for index in range(len(self.reconstruction.cameras)))
        return [Camera(camera.model_name, camera.width, camera.height, tuple(camera.params)) for camera in found]


def make_scene(views: Sequence[View], cameras: Sequence[Camera], matches: Matches) -> Scene:
    """A scene without points."""
    reconstruction = pycolmap.Reconstruction()
    for index, camera in enumerate(cameras):
        reconstruction.add_camera_with_trivial_rig(to_pycolmap(camera, index + 1))
    graph = pycolmap.CorrespondenceGraph()
    for index, view in enumerate(views):
        image = pycolmap.Image(
            name=view.name, keypoints=np.asarray(view.keypoints_px, dtype=np.float64), camera_id=view.camera + 1,
            image_id=index + 1,
        )  # fmt: skip
        camera_from_map = pycolmap.Rigid3d(view.map_from_camera.inverse().matrix()[:3])
        reconstruction.add_image_with_trivial_frame(image, camera_from_map)
        graph.add_image(index + 1, len(view.keypoints_px))
    for (first, second), found in sorted(matches.items()):
        if len(found):
            geometry = pycolmap.TwoViewGeometry(
                config=pycolmap.TwoViewGeometryConfiguration.CALIBRATED, inlier_matches=found.astype(np.uint32)
            )
            graph.add_two_view_geometry(first + 1, second + 1, geometry)
    graph.finalize()
    return Scene(reconstruction, graph, [view.keypoints_px for view in views])


def triangulate(
    views: Sequence[View], cameras: Sequence[Camera], matches: Matches, config: MapBuildConfig, max_error_px: float
) -> Scene:
    """Points from the matches with the poses as they are. max_error_px: largest reprojection error, actual pixels."""
    pycolmap.set_random_seed(_SEED)
    scene = make_scene(views, cameras, matches)
    triangulator, options = _triangulator(scene, config, max_error_px)
    for index in range(len(views)):
        triangulator.triangulate_image(options, index + 1)
    _complete(scene, triangulator, options, config, max_error_px)
    return scene


def _triangulator(
    scene: Scene, config: MapBuildConfig, max_error_px: float
) -> tuple[pycolmap.IncrementalTriangulator, pycolmap.IncrementalTriangulatorOptions]:
    options = pycolmap.IncrementalTriangulatorOptions()
    options.random_seed = _SEED
    options.min_angle = config.min_triangulation_angle_deg
    options.ignore_two_view_tracks = False
    focal = min(camera.mean_focal_length() for camera in scene.reconstruction.cameras.values())
    angle = float(np.degrees(np.arctan(max_error_px / focal)))
    options.create_max_angle_error = options.continue_max_angle_error = angle
    options.merge_max_reproj_error = options.complete_max_reproj_error = max_error_px
    return pycolmap.IncrementalTriangulator(scene.graph, scene.reconstruction), options


def _complete(
    scene: Scene, triangulator: pycolmap.IncrementalTriangulator, options: pycolmap.IncrementalTriangulatorOptions,
    config: MapBuildConfig, max_error_px: float,
) -> None:  # fmt: skip
    """Join tracks that the current poses allow to be joined, and drop what does not fit."""
    triangulator.complete_all_tracks(options)
    triangulator.merge_all_tracks(options)
    manager = pycolmap.ObservationManager(scene.reconstruction, scene.graph)
    manager.filter_observations_with_negative_depth()
    manager.filter_all_points3D(max_error_px, config.min_triangulation_angle_deg)
    manager.filter_points3D_with_short_tracks(2)


def refine(scene: Scene, priors: Sequence[Pose], config: MapBuildConfig, max_error_px: float) -> None:
    """Adjust poses, points and intrinsics in place, with the given poses as priors; then join and filter again."""
    trust = Trust(
        position_m=config.pose_prior_sigma_m,
        orientation_rad=float(np.radians(config.pose_prior_sigma_deg)),
        pixel_px=max_error_px / config.max_reprojection_error_px,
        refine_intrinsics=config.refine_intrinsics,
    )
    problem, ids = _problem(scene)
    _write_back(scene, adjust(problem, priors, trust, iterations=_MAX_ITERATIONS), ids)
    triangulator, triangulation = _triangulator(scene, config, max_error_px)
    _complete(scene, triangulator, triangulation, config, max_error_px)


def _problem(scene: Scene) -> tuple[Problem, list[int]]:
    """The scene as arrays, and the ids of its points in the order of the arrays."""
    reconstruction = scene.reconstruction
    images = [reconstruction.image(index + 1) for index in range(scene.count)]
    ids = sorted(reconstruction.point3D_ids())
    rows = [
        (element.image_id - 1, track, element.point2D_idx)
        for track, point_id in enumerate(ids)
        for element in reconstruction.point3D(point_id).track.elements
    ]
    views, tracks, keypoints = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    poses = [image.cam_from_world().matrix() for image in images]
    starts = np.cumsum([0, *(len(pixels) for pixels in scene.keypoints_px)])
    problem = Problem(
        rotations=np.array([pose[:, :3] for pose in poses]), translations=np.array([pose[:, 3] for pose in poses]),
        view_cameras=np.array([image.camera_id - 1 for image in images], dtype=np.int64),
        cameras=tuple(scene.cameras()),
        points=np.array([reconstruction.point3D(point_id).xyz for point_id in ids]).reshape(-1, 3),
        views=views, tracks=tracks,
        pixels=np.concatenate(scene.keypoints_px)[starts[views] + keypoints].astype(np.float64),
    )  # fmt: skip
    return problem, ids


def observations(
    scene: Scene, config: MapBuildConfig, max_error_px: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """(points [L, 3], rows [O, 3] of landmark, view, keypoint, errors [O] in pixels) of the points worth keeping.

    A point seen only twice has nothing that confirms it, so it must fit twice as well and from twice the angle.
    """
    problem, ids = _problem(scene)
    if not ids:
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), np.zeros(0)
    errors = np.linalg.norm(problem.residuals_px(), axis=1)
    lengths = np.bincount(problem.tracks, minlength=len(ids))
    worst = np.zeros(len(ids))
    np.maximum.at(worst, problem.tracks, errors)
    angles = problem.widest_angles()
    sure = (worst <= max_error_px / 2) & (angles >= 2 * np.radians(config.min_triangulation_angle_deg))
    kept = (lengths >= 3) | sure
    renumbered = np.cumsum(kept) - 1
    rows = kept[problem.tracks]
    keypoints = np.array([element.point2D_idx for point_id in ids
                          for element in scene.reconstruction.point3D(point_id).track.elements])  # fmt: skip
    table = np.stack([renumbered[problem.tracks[rows]], problem.views[rows], keypoints[rows]], axis=1)
    return problem.points[kept], table.astype(np.int64), errors[rows]


def _write_back(scene: Scene, problem: Problem, ids: Sequence[int]) -> None:
    for index in range(scene.count):
        matrix = np.column_stack([problem.rotations[index], problem.translations[index]])
        scene.reconstruction.image(index + 1).frame.set_cam_from_world(
            scene.reconstruction.image(index + 1).camera_id, pycolmap.Rigid3d(matrix)
        )
    for index, camera in enumerate(problem.cameras):
        scene.reconstruction.camera(index + 1).params = list(camera.params)
    for row, point_id in enumerate(ids):
        scene.reconstruction.point3D(point_id).xyz = problem.points[row]
