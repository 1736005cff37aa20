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
from hfnet_core.types import Camera

__all__ = ["Matches", "Scene", "View", "rays_of", "refine", "triangulate"]

Matches = Mapping[tuple[int, int], NDArray[np.int32]]
_SEED = 0
_MAX_ITERATIONS = 60


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
    count: int

    def poses(self) -> list[Pose]:
        """Current map_from_camera of each view."""
        images = (self.reconstruction.image(index + 1) for index in range(self.count))
        return [Pose.from_matrix(image.cam_from_world().inverse().matrix()) for image in images]

    def cameras(self) -> list[Camera]:
        """Current calibration of each camera."""
        found = (self.reconstruction.camera(index + 1) for index in range(len(self.reconstruction.cameras)))
        return [Camera(camera.model_name, camera.width, camera.height, tuple(camera.params)) for camera in found]


def to_pycolmap(camera: Camera, camera_id: int) -> pycolmap.Camera:
    return pycolmap.Camera(
        camera_id=camera_id, model=camera.model, width=camera.width, height=camera.height, params=list(camera.params)
    )


def rays_of(camera: Camera, keypoints_px: NDArray[np.float32]) -> NDArray[np.float64]:
    """Unit vectors [K, 3] in the camera frame through pixels [K, 2]; NaN where the model has no answer."""
    if len(keypoints_px) == 0:
        return np.zeros((0, 3))
    points = to_pycolmap(camera, 1).cam_from_img(np.asarray(keypoints_px, dtype=np.float64))
    rays = np.column_stack([points, np.ones(len(points))])
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


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
    return Scene(reconstruction, graph, len(views))


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


def refine(
    scene: Scene, priors: Sequence[Pose], config: MapBuildConfig, max_error_px: float, *, refine_focal_length: bool
) -> None:
    """Bundle adjustment of poses, points and focal lengths; the given positions are priors and fix the gauge."""
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.refine_focal_length = refine_focal_length
    options.refine_extra_params = globals().get("EXTRA", False)
    options.refine_principal_point = globals().get("PP", False)
    options.refine_sensor_from_rig = False
    ceres = options.ceres
    ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    ceres.loss_function_scale = 1.0
    ceres.solver_options.num_threads = 1
    ceres.solver_options.max_num_iterations = _MAX_ITERATIONS
    ceres.solver_options.function_tolerance = 1e-6
    setup = pycolmap.BundleAdjustmentConfig()
    for index in range(scene.count):
        setup.add_image(index + 1)
    prior_options = pycolmap.PosePriorBundleAdjustmentOptions()
    prior_options.alignment_ransac.random_seed = _SEED
    prior_options.prior_position_fallback_stddev = config.pose_prior_sigma_m
    covariance = np.eye(3) * config.pose_prior_sigma_m**2
    given = [
        pycolmap.PosePrior(
            pose_prior_id=index + 1, corr_data_id=scene.reconstruction.image(index + 1).data_id,
            position=pose.translation, position_covariance=covariance,
            coordinate_system=pycolmap.PosePriorCoordinateSystem.CARTESIAN,
        )
        for index, pose in enumerate(priors)
    ]  # fmt: skip
    pycolmap.create_pose_prior_bundle_adjuster(options, prior_options, setup, given, scene.reconstruction).solve()
    triangulator, triangulation = _triangulator(scene, config, max_error_px)
    _complete(scene, triangulator, triangulation, config, max_error_px)
