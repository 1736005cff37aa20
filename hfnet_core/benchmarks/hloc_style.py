"""The plain pipeline for comparison: mutual matching with each retrieved image by itself, PnP over all matches.

After hloc's `localize_sfm` without clustering (Sarlin et al., github.com/cvg/Hierarchical-Localization): each retrieved
image takes part with all of its keypoints, those with a landmark give the 2D-3D pairs, each pair once; one pose is
solved over all of them, and every solved pose counts as an answer, whatever its support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfnet_core import projection
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.extras import later
from hfnet_core.features.sources import FeatureSource, extract_named
from hfnet_core.geometry import Pose
from hfnet_core.localization.matching import match_all
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.localization.uncertainty.covariance import cell_share
from hfnet_core.maps.colmap_cameras import colmap_camera
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Features, Float32, Localization, Localized, Mode, NotLocalized, Reason

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = ["HlocStyle", "MapImage", "map_images", "observed_only"]

_MAX_ERROR_PX = 12.0  # hloc's
_MET = 0.95  # of the map's observations must be found again in its images


@dataclass(frozen=True, eq=False)
class MapImage:
    """What a map image brings: descriptors [K, D] of its keypoints and their landmarks [K], -1 where there is none."""

    descriptors: Float32
    landmarks: NDArray[np.int64]


def observed_only(landmark_map: LandmarkMap) -> list[MapImage]:
    """Of each keyframe the keypoints that the map kept: those with a landmark."""
    return [
        MapImage(
            unit(landmark_map.observation_descriptors[landmark_map.observations_of(keyframe)]),
            landmark_map.landmarks_of(keyframe).astype(np.int64),
        )
        for keyframe in range(landmark_map.keyframes)
    ]


def map_images(
    landmark_map: LandmarkMap, bag: Path, extractor: FeatureSource, options: BagOptions | None = None
) -> list[MapImage]:
    """Of each keyframe all keypoints, as hloc keeps them, from the recording the map was made of.

    extractor: the map's. Raises DatasetError when the recording lacks a keyframe's image, or the extractor
    finds other keypoints in it than the map has.
    """
    wanted = {int(stamp): keyframe for keyframe, stamp in enumerate(landmark_map.keyframe_stamps_ns)}
    found: dict[int, MapImage] = {}
    with Bag(bag, options) as recording:
        for frame in recording.frames():
            keyframe = wanted.get(frame.stamp_ns)
            if keyframe is not None:
                found[keyframe] = _with_landmarks(
                    landmark_map, keyframe, extract_named(extractor, frame.image, f"0/{frame.name}", frame.preparation)
                )
    if len(found) < landmark_map.keyframes:
        raise DatasetError(
            f"{bag}: {landmark_map.keyframes - len(found)} of the map's keyframes are not in it: give "
            "the recording that the map was made of"
        )
    met = sum(int((image.landmarks >= 0).sum()) for image in found.values())
    if met < _MET * landmark_map.observations:  # a baseline that lost its landmarks would be an unfair one
        raise DatasetError(
            f"{bag}: only {met} of the map's {landmark_map.observations} observations are keypoints of "
            "this front end: the map was made with another"
        )
    return [found[keyframe] for keyframe in range(landmark_map.keyframes)]


def _with_landmarks(landmark_map: LandmarkMap, keyframe: int, features: Features) -> MapImage:
    """Keypoints are where the map saw its landmarks, to the last bit."""
    rows, owners = landmark_map.observations_of(keyframe), landmark_map.landmarks_of(keyframe)
    places = {
        tuple(pixel): int(owner)
        for pixel, owner in zip(landmark_map.observation_px[rows].tolist(), owners, strict=True)
    }
    landmarks = [places.get(tuple(pixel), -1) for pixel in features.keypoints_px.tolist()]
    return MapImage(features.descriptors, np.array(landmarks, np.int64))


class HlocStyle:
    """Localizes images as described above."""

    def __init__(
        self, landmark_map: LandmarkMap, images: Sequence[MapImage], config: LocalizerConfig | None = None
    ) -> None:
        self._map, self._images, self._config = landmark_map, images, config or LocalizerConfig()
        self._retriever = Retriever(landmark_map.global_descriptors)

    def localize(self, features: Features, camera: Camera) -> Localization:
        """The pose of an image, without a covariance (NaN) or a judgement."""
        retrieved, _ = self._retriever.query(features.global_descriptor, self._config.retrieved)
        pairs: Mapping[tuple[int, int], None] = {
            pair: None for keyframe in retrieved for pair in self._matches(features, self._images[int(keyframe)])
        }
        if not pairs:
            return NotLocalized(Reason.TOO_FEW_MATCHES)
        chosen, landmarks = np.array(list(pairs), np.int64).T
        keypoints, camera = features.keypoints_px[chosen], self._map.calibration_for(camera)
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = _MAX_ERROR_PX * projection.pixel_scale(camera)
        options.ransac.random_seed = 0
        answer = pycolmap.estimate_and_refine_absolute_pose(
            keypoints.astype(np.float64),
            self._map.landmarks_xyz[landmarks].astype(np.float64),
            colmap_camera(camera),
            options,
        )
        if answer is None:
            return NotLocalized(Reason.NO_CONSENSUS, matches=len(keypoints))
        inliers = np.asarray(answer["inlier_mask"], bool)
        return Localized(
            map_from_camera=Pose.from_matrix(answer["cam_from_world"].matrix()).inverse(),
            covariance=np.full((6, 6), np.nan),
            mode=Mode.GLOBAL,
            inliers=int(inliers.sum()),
            matches=len(keypoints),
            keypoints_px=keypoints[inliers],
            landmarks=landmarks[inliers].astype(np.int32),
            keyframes=tuple(map(int, retrieved)),
            coverage=cell_share(keypoints[inliers], camera),
            reprojection_px=float("nan"),
        )

    def _matches(self, features: Features, image: MapImage) -> list[tuple[int, int]]:
        """Pairs of keypoint and landmark: mutual nearest neighbours."""
        places = np.arange(len(image.descriptors), dtype=np.int32)
        found = match_all(features.descriptors, image.descriptors, places, ratio=np.inf)
        landmarks = image.landmarks[found.landmarks]
        return list(zip(found.keypoints[landmarks >= 0].tolist(), landmarks[landmarks >= 0].tolist(), strict=True))
