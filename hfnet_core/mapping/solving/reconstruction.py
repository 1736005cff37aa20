"""Triangulation and bundle adjustment through pycolmap, in memory: from matches and poses to tracks.

pycolmap is given our pixels unshifted; as camera and keypoints move together, that changes nothing. Every step runs
in a fixed order, with fixed seeds and one solver thread, so that the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.extras import later
from hfnet_core.geometry import Pose
from hfnet_core.mapping.solving.adjustment import Anchor, adjust, adjust_points, adjustable
from hfnet_core.mapping.solving.odometry import Odometry
from hfnet_core.mapping.solving.ranges import usable_ranges
from hfnet_core.mapping.solving.tracks import Tracks
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.types import Camera, Ranges

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = [
    "KnownPoints",
    "Matches",
    "Scene",
    "View",
    "make_scene",
    "observations",
    "polish",
    "refine",
    "settle",
    "triangulate",
]

Matches = Mapping[tuple[int, int], NDArray[np.int32]]
_SEED = 0
_DEVIATIONS = 2.5  # an observation further off than this many standard deviations is of something else


@dataclass(frozen=True, eq=False)
class View:
    """A keyframe as the geometry sees it. keypoints_px: [K, 2]. camera: index into the scene's cameras. ranges: of its
    keypoints, where they were measured and shall count."""

    name: str
    camera: int
    keypoints_px: NDArray[np.float32]
    map_from_camera: Pose
    ranges: Ranges | None = None


@dataclass(eq=False)
class Scene:
    """Views, cameras, and the pycolmap reconstruction under construction. Image id of view i is i + 1.

    graph: the correspondences; it must live as long as the reconstruction is worked on.
    """

    reconstruction: pycolmap.Reconstruction
    graph: pycolmap.CorrespondenceGraph
    keypoints_px: list[NDArray[np.float32]]
    ranges: list[Ranges | None]

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.keypoints_px)

    def poses(self) -> list[Pose]:
        """Current map_from_camera of each view."""
        images = (self.reconstruction.image(index + 1) for index in range(self.count))
        return [Pose.from_matrix(image.cam_from_world().inverse().matrix()) for image in images]

    def tracks(self) -> Tracks:
        """Points and observations as arrays, points in the order of their ids."""
        images = [self.reconstruction.image(index + 1) for index in range(self.count)]
        ids = sorted(self.reconstruction.point3D_ids())
        rows = [
            (element.image_id - 1, track, element.point2D_idx)
            for track, point_id in enumerate(ids)
            for element in self.reconstruction.point3D(point_id).track.elements
        ]
        views, tracks, keypoints = np.array(rows, dtype=np.int64).reshape(-1, 3).T
        poses = np.array([image.cam_from_world().matrix() for image in images]).reshape(-1, 3, 4)
        starts = np.cumsum([0, *(len(pixels) for pixels in self.keypoints_px)])
        pixels = np.concatenate(self.keypoints_px) if self.count else np.zeros((0, 2))
        return Tracks(
            rotations=poses[:, :, :3],
            translations=poses[:, :, 3],
            view_cameras=np.array([image.camera_id - 1 for image in images], dtype=np.int64),
            cameras=tuple(self.cameras()),
            points=np.array([self.reconstruction.point3D(point_id).xyz for point_id in ids]).reshape(-1, 3),
            views=views,
            tracks=tracks,
            keypoints=keypoints,
            pixels=pixels[starts[views] + keypoints].astype(np.float64),
        )

    def depths(self) -> NDArray[np.float64]:
        """Distance along the optical axis of every point in every view that sees it."""
        return self.tracks().depths()

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
            name=view.name,
            keypoints=np.asarray(view.keypoints_px, dtype=np.float64),
            camera_id=view.camera + 1,
            image_id=index + 1,
        )
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
    return Scene(reconstruction, graph, [view.keypoints_px for view in views], [view.ranges for view in views])


@dataclass(frozen=True, eq=False)
class KnownPoints:
    """Points of a map that exists. xyz: [L, 3]. rows: [O, 3] point, view, keypoint, at least two of each point."""

    xyz: NDArray[np.float64]
    rows: NDArray[np.int64]


def triangulate(
    views: Sequence[View],
    cameras: Sequence[Camera],
    matches: Matches,
    config: MapBuildConfig,
    max_error_px: float,
    known: KnownPoints | None = None,
) -> Scene:
    """Points from the matches with the poses as they are. max_error_px: largest reprojection error, actual pixels.

    known: points to start with; matches with keypoints that see them add to their tracks.
    """
    pycolmap.set_random_seed(_SEED)
    scene = make_scene(views, cameras, matches)
    if known is not None:
        _add_points(scene, known)
    triangulator, options = _triangulator(scene, config, max_error_px)
    for index in range(len(views)):
        triangulator.triangulate_image(options, index + 1)
    _complete(scene, triangulator, options, config, max_error_px)
    return scene


def _add_points(scene: Scene, known: KnownPoints) -> None:
    if not len(known.xyz):  # of a map by depth alone
        return
    order = np.argsort(known.rows[:, 0], kind="stable")
    ends = np.cumsum(np.bincount(known.rows[:, 0], minlength=len(known.xyz)))
    for index, rows in enumerate(np.split(known.rows[order], ends[:-1])):
        track = pycolmap.Track([pycolmap.TrackElement(int(view) + 1, int(keypoint)) for _, view, keypoint in rows])
        scene.reconstruction.add_point3D_with_id(index + 1, pycolmap.Point3D(xyz=known.xyz[index], track=track))


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
    scene: Scene,
    triangulator: pycolmap.IncrementalTriangulator,
    options: pycolmap.IncrementalTriangulatorOptions,
    config: MapBuildConfig,
    max_error_px: float,
) -> None:
    """Join tracks that the current poses allow to be joined, and drop what does not fit."""
    triangulator.complete_all_tracks(options)
    triangulator.merge_all_tracks(options)
    manager = pycolmap.ObservationManager(scene.reconstruction, scene.graph)
    manager.filter_observations_with_negative_depth()
    manager.filter_all_points3D(max_error_px, config.min_triangulation_angle_deg)
    manager.filter_points3D_with_short_tracks(2)


def refine(
    scene: Scene,
    priors: Sequence[Pose],
    config: MapBuildConfig,
    max_error_px: float,
    looseness: NDArray[np.float64] | None = None,
    odometry: Odometry | None = None,
) -> None:
    """Adjust poses, points and intrinsics in place, with the given poses as priors; then join and filter again.

    looseness: [M] factor on the standard deviations of the priors, 1 where not given. odometry: says which of the
    views drift; their priors are relative to the view before. Where all drift, the first view stays where it is.
    """
    _adjust(scene, priors, config, max_error_px, looseness, odometry)
    triangulator, triangulation = _triangulator(scene, config, max_error_px)
    _complete(scene, triangulator, triangulation, config, max_error_px)


def polish(
    scene: Scene,
    priors: Sequence[Pose],
    config: MapBuildConfig,
    max_error_px: float,
    looseness: NDArray[np.float64] | None = None,
    odometry: Odometry | None = None,
) -> None:
    """Leave out what lies outside the noise of the keypoints, and adjust once more, in place.

    The noise is estimated from the median error of the points that are seen at least three times, so it fits every
    detector. What is left out agrees with the geometry by a few pixels only because it is a neighbouring keypoint.
    """
    limit_px = _noise_limit_px(scene, max_error_px)
    if limit_px is None:
        return
    manager = pycolmap.ObservationManager(scene.reconstruction, scene.graph)
    manager.filter_all_points3D(limit_px, config.min_triangulation_angle_deg)
    _adjust(scene, priors, config, max_error_px, looseness, odometry)
    manager.filter_all_points3D(limit_px, config.min_triangulation_angle_deg)


def settle(scene: Scene, config: MapBuildConfig, max_error_px: float) -> None:
    """As `polish`, but poses and cameras stay: only points move, to where they fit best, in place."""
    limit_px = _noise_limit_px(scene, max_error_px)
    if limit_px is None:
        return
    manager = pycolmap.ObservationManager(scene.reconstruction, scene.graph)
    manager.filter_all_points3D(limit_px, config.min_triangulation_angle_deg)
    adjust_points(scene.reconstruction, pixel_px=max_error_px / config.max_reprojection_error_px)
    manager.filter_all_points3D(limit_px, config.min_triangulation_angle_deg)


def _noise_limit_px(scene: Scene, max_error_px: float) -> float | None:
    """The error of an observation beyond the noise; None where no point is seen often enough to tell."""
    tracks = scene.tracks()
    errors = np.linalg.norm(tracks.residuals_px(), axis=1)[tracks.lengths()[tracks.tracks] >= 3]
    if not len(errors):
        return None
    sigma_px = float(np.median(errors)) / _RAYLEIGH_MEDIAN
    return min(max_error_px, max(_DEVIATIONS * sigma_px, _LEAST_SHARE * max_error_px))


_RAYLEIGH_MEDIAN = 1.1774  # of the length of a vector with two normal components of deviation 1
_LEAST_SHARE = 0.125  # of the largest error: exact keypoints must not make rounding an outlier


def _adjust(
    scene: Scene,
    priors: Sequence[Pose],
    config: MapBuildConfig,
    max_error_px: float,
    looseness: NDArray[np.float64] | None,
    odometry: Odometry | None,
) -> None:
    factor = np.ones(scene.count) if looseness is None else looseness
    drifting = odometry.drifting if odometry is not None else [False] * scene.count
    seeing = adjustable(scene.reconstruction)
    before = scene.poses()
    radians = float(np.radians(config.pose_prior_sigma_deg))
    anchors = [
        Anchor(view, priors[view], config.pose_prior_sigma_m * factor[view], radians * factor[view])
        for view in seeing
        if not drifting[view]
    ] or [Anchor(view, before[view], config.pose_prior_sigma_m, radians) for view in seeing[:1]]
    adjust(
        scene.reconstruction,
        anchors,
        odometry.links(seeing) if odometry is not None else [],
        pixel_px=max_error_px / config.max_reprojection_error_px,
        refine_intrinsics=config.refine_intrinsics,
        ranges=usable_ranges(scene.reconstruction, scene.ranges),
    )
    if odometry is not None and seeing:
        _take_along(scene, before, seeing, [view for view in range(scene.count) if drifting[view]], odometry.drives)


def _take_along(
    scene: Scene, before: Sequence[Pose], seeing: Sequence[int], drifting: Sequence[int], drives: Sequence[int]
) -> None:
    """Views that see no points move as the nearest view does that sees some, of the same drive if there is one."""
    after = scene.poses()
    for view in sorted(set(drifting) - set(seeing)):
        nearest = min(seeing, key=lambda other: (drives[other] != drives[view], abs(other - view), other))
        moved = after[nearest] @ before[nearest].inverse() @ before[view]
        image = scene.reconstruction.image(view + 1)
        image.frame.set_cam_from_world(image.camera_id, pycolmap.Rigid3d(moved.inverse().matrix()[:3]))


def observations(
    scene: Scene, config: MapBuildConfig, max_error_px: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """(points [L, 3], rows [O, 3] of landmark, view, keypoint, errors [O] in pixels) of the points worth keeping.

    A point seen only twice has nothing that confirms it, so it must fit twice as well and from twice the angle.
    """
    tracks = scene.tracks()
    if not len(tracks.points):
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), np.zeros(0)
    errors = np.linalg.norm(tracks.residuals_px(), axis=1)
    worst = np.zeros(len(tracks.points))
    np.maximum.at(worst, tracks.tracks, errors)
    angles = tracks.widest_angles()
    sure = (worst <= max_error_px / 2) & (angles >= 2 * np.radians(config.min_triangulation_angle_deg))
    kept = (tracks.lengths() >= 3) | sure
    renumbered = np.cumsum(kept) - 1
    rows = kept[tracks.tracks]
    table = np.stack([renumbered[tracks.tracks[rows]], tracks.views[rows], tracks.keypoints[rows]], axis=1)
    return tracks.points[kept], table.astype(np.int64), errors[rows]
