"""Stage 4 for several cameras: one pose from the correspondences of all of them, its covariance, and its support.

The generalized absolute pose is pycolmap's: GP3P of poselib in LO-RANSAC (Kukelova et al., "Efficient intersection of
three quadrics", ACCV 2016). Cameras with one common centre, or one camera alone, do not disturb it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Array, Pose, skew
from hfnet_core.localization import pose
from hfnet_core.localization.matching import Matches
from hfnet_core.localization.pose import Derivatives, Solution
from hfnet_core.maps.colmap_cameras import colmap_camera
from hfnet_core.types import Camera, Float32

__all__ = ["Correspondences", "Rig", "coverage", "joined", "locate", "polish", "pose_covariance", "solve"]

_MIN_POINTS = 4  # three for GP3P and one to choose among its solutions


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras that move as one.

    rig_from_cameras: where each sits in the rig's frame, for example base_from_camera of a robot. Raises ConfigError
    where the two do not fit or a pose is not finite.
    """

    cameras: tuple[Camera, ...]
    rig_from_cameras: tuple[Pose, ...]

    def __post_init__(self) -> None:
        if not self.cameras or len(self.cameras) != len(self.rig_from_cameras):
            raise ConfigError(f"a rig of {len(self.cameras)} cameras has {len(self.rig_from_cameras)} extrinsics")
        if not all(rig_from_camera.is_finite() for rig_from_camera in self.rig_from_cameras):
            raise ConfigError("an extrinsic of the rig is not finite")

    @cached_property
    def reference_cameras(self) -> tuple[Camera, ...]:
        """Resized to the reference width, so that one threshold in pixels holds for all of them."""
        return tuple(
            camera.scaled(round(camera.width / scale), round(camera.height / scale))
            for camera, scale in ((camera, projection.pixel_scale(camera)) for camera in self.cameras)
        )

    @cached_property
    def colmap(self) -> tuple[list[Any], list[Any]]:
        """The last two arguments of pycolmap's functions for generalized poses: cams_from_rig, cameras."""
        extrinsics = [pycolmap.Rigid3d(mount.inverse().matrix()[:3]) for mount in self.rig_from_cameras]
        return extrinsics, [colmap_camera(camera) for camera in self.reference_cameras]


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Matches of all cameras of a rig.

    views: [N] number of the camera. keypoints, landmarks, unguided: as in Matches. pixels: [N, 2] at the reference
    width. points: [N, 3] in the map.
    """

    views: NDArray[np.int32]
    keypoints: NDArray[np.int64]
    landmarks: NDArray[np.int32]
    unguided: NDArray[np.bool_]
    pixels: Array
    points: Array

    def __len__(self) -> int:
        return len(self.views)

    def where(self, chosen: NDArray[Any]) -> Correspondences:
        """Those chosen by index or mask."""
        return Correspondences(*(getattr(self, item.name)[chosen] for item in fields(self)))

    def of(self, *views: int) -> Correspondences:
        """Those of some cameras."""
        return self.where(np.isin(self.views, views))

    @property
    def count(self) -> int:
        """Keypoints with a match; one that was matched in several places counts once."""
        return len(np.unique(self.keypoint_keys))

    @property
    def keypoint_keys(self) -> NDArray[np.int64]:
        """[N] a number for each keypoint of each camera."""
        return self.keypoints << 8 | self.views


def locate(view: int, rig: Rig, keypoints_px: Float32, matches: Matches, landmarks_xyz: Float32) -> Correspondences:
    """Matches of one camera with their geometry."""
    scale = projection.pixel_scale(rig.cameras[view])
    pixels = (keypoints_px[matches.keypoints].astype(np.float64) + 0.5) / scale - 0.5
    views, points = np.full(len(matches), view, np.int32), landmarks_xyz[matches.landmarks].astype(np.float64)
    return Correspondences(views, matches.keypoints, matches.landmarks, matches.unguided, pixels, points)


def joined(parts: Sequence[Correspondences]) -> Correspondences:
    """All of several, each pair of keypoint and landmark once. There must be at least one part."""
    columns = [np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Correspondences)]
    found = Correspondences(*columns)
    pairs = found.keypoint_keys << 31 | found.landmarks
    return found.where(np.sort(np.unique(pairs, return_index=True)[1]))


def solve(found: Correspondences, rig: Rig, config: LocalizerConfig) -> Solution | None:
    """LO-RANSAC over GP3P, to be polished; None when nothing agrees. `map_from_camera` is map_from_rig.

    Deterministic: RANSAC's seed is fixed.
    """
    if len(found) < _MIN_POINTS:
        return None
    answer = pycolmap.estimate_generalized_absolute_pose(
        found.pixels, found.points, found.views.tolist(), *rig.colmap, pose.ransac_options(config)
    )
    map_from_rig = None if answer is None else Pose.from_matrix(answer["rig_from_world"].matrix()).inverse()
    if map_from_rig is None or not map_from_rig.is_finite():
        return None
    return Solution(map_from_rig, agreeing(found, rig, map_from_rig, config))


def polish(found: Correspondences, rig: Rig, map_from_rig: Pose, config: LocalizerConfig) -> Solution | None:
    """Refine a pose on all correspondences that agree with it; None where they do not determine one."""
    limit_px = config.reprojection_error_px
    refined = pose.polished(map_from_rig, lambda at: _derivatives(found, rig, at), limit_px)
    return None if refined is None else Solution(refined, agreeing(found, rig, refined, config))


def _derivatives(found: Correspondences, rig: Rig, map_from_rig: Pose) -> Derivatives:
    """As pose.derivatives, over the residuals of all cameras, by the rig's pose.

    A turn of the rig by dr about its own origin moves a camera at the end of an arm by dr x arm, which carries each
    camera's derivatives over to the rig.
    """
    jacobian, residuals = np.zeros((len(found), 2, 6)), np.zeros((len(found), 2))
    visible = np.zeros(len(found), bool)
    for view, camera in enumerate(rig.reference_cameras):
        own = found.views == view
        if own.any():
            map_from_camera = map_from_rig @ rig.rig_from_cameras[view]
            by_camera, residuals[own], visible[own] = pose.derivatives(
                found.pixels[own], found.points[own], map_from_camera, camera
            )
            camera_by_rig = np.eye(6)
            camera_by_rig[:3, 3:] = -skew(map_from_camera.translation - map_from_rig.translation)
            jacobian[own] = by_camera @ camera_by_rig
    return jacobian, residuals, visible


def agreeing(found: Correspondences, rig: Rig, map_from_rig: Pose, config: LocalizerConfig) -> NDArray[np.bool_]:
    """[N] which correspondences a pose explains."""
    near: NDArray[np.bool_] = errors_px(found, rig, map_from_rig) <= config.reprojection_error_px
    return near


def errors_px(found: Correspondences, rig: Rig, map_from_rig: Pose) -> Array:
    """[N] reprojection errors in reference pixels, infinite where a camera would not see the landmark."""
    out = np.full(len(found), np.inf)
    for view, camera in enumerate(rig.reference_cameras):
        own = found.views == view
        if own.any():
            pixels, visible = projection.project(found.points[own], map_from_rig @ rig.rig_from_cameras[view], camera)
            out[own] = np.where(visible, np.linalg.norm(pixels - found.pixels[own], axis=1), np.inf)
    return out


def pose_covariance(found: Correspondences, rig: Rig, map_from_rig: Pose) -> tuple[Array, float]:
    """Covariance [6, 6] of a rig's pose from its inliers, and their root mean square error in reference pixels.

    As pose.pose_covariance; the cells within which residuals may hang together are those of each image.
    """
    jacobian, residuals, visible = _derivatives(found, rig, map_from_rig)
    cells = np.zeros(len(found), np.int64)
    for view, camera in enumerate(rig.reference_cameras):
        own = found.views == view
        cells[own] = pose.cells(found.pixels[own], camera) + pose.CELLS * view
    return pose.covariance_of(jacobian[visible], residuals[visible], cells[visible])


def coverage(found: Correspondences, rig: Rig) -> float:
    """Cells with a keypoint, of all images together, as a share of the cells of one image, at most 1.

    Not the mean of the images: a camera that sees nothing must not take away from what another one sees.
    """
    shares = [
        pose.coverage(found.pixels[found.views == view], camera) for view, camera in enumerate(rig.reference_cameras)
    ]
    return min(sum(shares), 1.0)
