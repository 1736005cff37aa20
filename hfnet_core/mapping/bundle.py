"""Views with poses, cameras and matches: triangulated and adjusted together.

What building a map and joining maps have in common; see `keyframe_bundle.py` and `maintenance/joint.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import MapBuildConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.pairing.pair_matching import agreeing_matches
from hfnet_core.mapping.solving.odometry import Odometry
from hfnet_core.mapping.solving.reconstruction import KnownPoints, Matches, Scene, View, refine, triangulate
from hfnet_core.projection import pixel_scale
from hfnet_core.types import Camera, Features, Ranges

__all__ = ["SETTLED", "TIGHTER", "Bundle", "BundleView"]

SETTLED = 0.05  # of the trusted deviation: poses that move less in a round need no other
TIGHTER = 0.5  # of the epipolar threshold, once poses are refined


@dataclass(frozen=True, eq=False)
class BundleView:
    """One image. camera: index. prior: its map_from_camera as given, with the looseness of the trust in it (1: as
    configured). ranges: of its keypoints, where they were measured and shall count."""

    name: str
    camera: int
    features: Features
    prior: Pose
    looseness: float = 1.0
    ranges: Ranges | None = None


@dataclass(eq=False)
class Bundle:
    """Views with their current poses and cameras, all matches found so far, and points known beforehand.

    odometry: where some of the priors drift.
    """

    views: Sequence[BundleView]
    cameras: list[Camera]
    config: MapBuildConfig
    known: KnownPoints | None = None
    odometry: Odometry | None = None

    def __post_init__(self) -> None:
        self.poses = [view.prior for view in self.views]
        self.matches: dict[tuple[int, int], NDArray[np.int32]] = {}

    def scaled(self, pixels: float) -> float:
        """A threshold given for the reference width, for the widest image here."""
        return pixels * max(map(pixel_scale, self.cameras))

    @property
    def view_cameras(self) -> list[Camera]:
        """The camera of each view as it is now."""
        return [self.cameras[view.camera] for view in self.views]

    def verified(self, tolerance: float) -> Matches:
        """The matches that agree with the current poses. tolerance: factor on the epipolar threshold."""
        return agreeing_matches(
            self.matches,
            self.view_cameras,
            [view.features.keypoints_px for view in self.views],
            self.poses,
            self.scaled(self.config.epipolar_error_px * tolerance),
        )

    def triangulate(self, tolerance: float) -> Scene:
        """Points from the matches that agree with the poses as they are. tolerance: factor on the thresholds."""
        views = [
            View(view.name, view.camera, view.features.keypoints_px, pose, view.ranges)
            for view, pose in zip(self.views, self.poses, strict=True)
        ]
        limit = self.scaled(self.config.max_reprojection_error_px) * max(tolerance, 1.0)
        return triangulate(views, self.cameras, self.verified(tolerance), self.config, limit, self.known)

    def adjust(self, tolerance: float, limit: float = 1.0) -> float:
        """Triangulate anew and adjust. Returns how far the poses moved, root mean square, metres.

        limit: factor on the largest reprojection error of an observation that is kept.
        """
        scene = self.triangulate(tolerance)
        largest_px = self.scaled(self.config.max_reprojection_error_px) * limit
        refine(scene, self.priors, self.config, largest_px, self.looseness, self.odometry)
        before = self.poses
        self.take(scene)
        self.known = _moved(self.known, scene) if self.known is not None else None
        moved = [pose_error(new, old)[0] for new, old in zip(self.poses, before, strict=True)]
        return float(np.sqrt(np.mean(np.square(moved))))

    @property
    def priors(self) -> list[Pose]:
        return [view.prior for view in self.views]

    @property
    def looseness(self) -> NDArray[np.float64]:
        return np.array([view.looseness for view in self.views])

    def take(self, scene: Scene) -> None:
        """Go on with the poses and cameras of a scene."""
        self.poses, self.cameras = scene.poses(), scene.cameras()


def _moved(known: KnownPoints, scene: Scene) -> KnownPoints:
    """The known points where the scene has them now, without those that fit nothing any more."""
    place = {}
    for point in scene.reconstruction.points3D.values():
        for element in point.track.elements:
            place[element.image_id - 1, element.point2D_idx] = point.xyz
    lost = np.full(3, np.nan)
    found = np.array([place.get((int(view), int(keypoint)), lost) for _, view, keypoint in known.rows]).reshape(-1, 3)
    alive = np.isfinite(found[:, 0])
    points, count = known.rows[:, 0], len(known.xyz)
    sums = np.zeros((count, 3))
    np.add.at(sums, points[alive], found[alive])
    seen = np.bincount(points[alive], minlength=count)
    kept = seen > 0
    rows = known.rows[kept[points]].copy()
    rows[:, 0] = (np.cumsum(kept) - 1)[rows[:, 0]]
    return KnownPoints(sums[kept] / seen[kept, None], rows)
