"""The values that pass between stages: immutable, typed, with their conventions.

Pixels: (x, y), x right, y down, (0, 0) at the centre of the top-left pixel (OpenCV and ROS; COLMAP files differ by
half a pixel and are converted on import and export only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Array, Pose
from hfnet_core.limits import IMAGE

__all__ = [
    "CAMERA_PARAMETERS",
    "Camera",
    "DenseSampler",
    "Features",
    "Float32",
    "FocalFit",
    "Int32",
    "Localization",
    "Localized",
    "Matched",
    "Mode",
    "NotLocalized",
    "Ranges",
    "Reason",
    "Scaled",
]

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

CAMERA_PARAMETERS: Mapping[str, int] = {
    "SIMPLE_PINHOLE": 3,  # f cx cy
    "PINHOLE": 4,  # fx fy cx cy
    "SIMPLE_RADIAL": 4,  # f cx cy k
    "RADIAL": 5,  # f cx cy k1 k2
    "OPENCV": 8,  # fx fy cx cy k1 k2 p1 p2
    "FULL_OPENCV": 12,  # fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6
    "OPENCV_FISHEYE": 8,  # fx fy cx cy k1 k2 k3 k4
    "SIMPLE_FISHEYE": 3,  # f cx cy
    "FISHEYE": 4,  # fx fy cx cy
    "SIMPLE_RADIAL_FISHEYE": 4,  # f cx cy k
    "RADIAL_FISHEYE": 5,  # f cx cy k1 k2
    "THIN_PRISM_FISHEYE": 12,  # fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1
    "RAD_TAN_THIN_PRISM_FISHEYE": 16,  # fx fy cx cy k0 k1 k2 k3 k4 k5 p0 p1 s0 s1 s2 s3
    "FOV": 5,  # fx fy cx cy omega
    "SIMPLE_DIVISION": 4,  # f cx cy k
    "DIVISION": 5,  # fx fy cx cy k
    "EUCM": 6,  # fx fy cx cy alpha beta
}
_ONE_FOCAL_LENGTH = (
    "SIMPLE_PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "SIMPLE_FISHEYE",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
    "SIMPLE_DIVISION",
)


_LARGEST_PARAMETER = 1e9  # of focal lengths in pixels and coefficients of distortion alike


@dataclass(frozen=True)
class Camera:
    """A calibrated camera. `model` and the order of `params` are COLMAP's; the principal point is in our pixels.

    Raises ConfigError for an unknown model, a wrong number of parameters, parameters that are not finite or beyond
    any sense, a focal length or size that is not positive, or more pixels than the limit for images.
    """

    model: str
    width: int
    height: int
    params: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", tuple(float(value) for value in self.params))
        wanted = CAMERA_PARAMETERS.get(self.model)
        if wanted is None:
            raise ConfigError(
                f"camera model {self.model!r} is not supported; use one of {', '.join(CAMERA_PARAMETERS)}"
            )
        if len(self.params) != wanted:
            raise ConfigError(f"camera model {self.model} takes {wanted} parameters, got {len(self.params)}")
        if self.width <= 0 or self.height <= 0:
            raise ConfigError(f"camera size {self.width}x{self.height} is not positive")
        if self.width * self.height > IMAGE.value():
            raise ConfigError(f"camera size {self.width}x{self.height} is more than the limit of {IMAGE}")
        if not (np.abs(self.params) <= _LARGEST_PARAMETER).all() or min(self.focal_length) <= 0:
            raise ConfigError(f"camera has no valid focal length ({self.params}): is it calibrated?")

    @property
    def focal_parameters(self) -> tuple[float, ...]:
        """The parameters that are focal lengths, one or two; the principal point follows them."""
        return self.params[: 1 if self.model in _ONE_FOCAL_LENGTH else 2]

    @property
    def focal_length(self) -> tuple[float, float]:
        """(fx, fy) in pixels."""
        return self.focal_parameters[0], self.focal_parameters[-1]

    @property
    def principal_point(self) -> tuple[float, float]:
        """(cx, cy) in pixels."""
        n = len(self.focal_parameters)
        return self.params[n], self.params[n + 1]

    @property
    def distortion(self) -> tuple[float, ...]:
        """What follows focal lengths and principal point, in COLMAP's order."""
        return self.params[len(self.focal_parameters) + 2 :]

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera for its image resized to `width` x `height` (pixel centres map by (x + .5) s - .5).

        Raises ConfigError for another aspect ratio where the model has one focal length.
        """
        sx, sy = width / self.width, height / self.height
        n = len(self.focal_parameters)
        if n == 1 and not np.isclose(sx, sy, rtol=1e-2):
            raise ConfigError(f"{self.model} cannot be resized from {self.width}x{self.height} to {width}x{height}")
        focal = (length * scale for length, scale in zip(self.focal_parameters, (sx, sy), strict=False))
        centre = [(self.params[n] + 0.5) * sx - 0.5, (self.params[n + 1] + 0.5) * sy - 0.5]
        return Camera(self.model, width, height, (*focal, *centre, *self.params[n + 2 :]))

    def is_resized(self, other: Camera) -> bool:
        """Whether the other camera is this one for its image in some size, this one included."""
        if other.model != self.model:
            return False
        try:
            resized = self.scaled(other.width, other.height)
        except ConfigError:
            return False
        return np.allclose(resized.params, other.params, rtol=1e-6, atol=1e-6)


class DenseSampler(Protocol):
    """Local descriptors at any place of one image, not only at its keypoints."""

    def sample(self, xy_px: Float32) -> Float32:
        """Unit descriptors [N, D] float32 at finite positions [N, 2] in pixels of the original image, comparable with
        those of keypoints. Positions outside the image get what is nearest to them inside.
        """


@dataclass(frozen=True, eq=False)
class Scaled:
    """Descriptors of an image's keypoints where the image is resized by each factor: as from nearer or further away.

    factors: S. descriptors: [S, K, D] float16, unit length, zero where a keypoint has none.
    """

    factors: tuple[float, ...]
    descriptors: NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Features:
    """What the network says of one image.

    keypoints_px: [K, 2] in pixels of the original image. scores: [K], descending. descriptors: [K, D], unit length.
    global_descriptor: [G], unit length. width, height: of the original image. All float32. dense: descriptors
    everywhere else, where whoever made these has them; it holds megabytes, so whoever keeps features drops it.
    scaled: what the keypoints look like in the image at other sizes, for maps; see `Scaled`. rotation: by which the
    image was turned clockwise before it was described, degrees: 0, 90, 180 or 270.
    """

    keypoints_px: Float32
    scores: Float32
    descriptors: Float32
    global_descriptor: Float32
    width: int
    height: int
    dense: DenseSampler | None = None
    scaled: Scaled | None = None
    rotation: int = 0

    def __len__(self) -> int:
        return len(self.keypoints_px)

    def where(self, rows: NDArray[Any]) -> Features:
        """Of the keypoints chosen by index or mask."""
        return replace(
            self,
            keypoints_px=self.keypoints_px[rows],
            scores=self.scores[rows],
            descriptors=self.descriptors[rows],
            scaled=None if self.scaled is None else replace(self.scaled, descriptors=self.scaled.descriptors[:, rows]),
        )

    def without_dense(self) -> Features:
        """The same, small enough to be kept by the thousand."""
        return self if self.dense is None else replace(self, dense=None)


@dataclass(frozen=True, eq=False)
class Ranges:
    """How far away the keypoints of one image are, by a depth image or a second camera.

    metres: [K] float32 along the optical axis, NaN where unknown. sigma_m: [K], their standard deviations.
    """

    metres: Float32
    sigma_m: Float32

    def where(self, chosen: NDArray[Any]) -> Ranges:
        """Those chosen by index or mask."""
        return Ranges(self.metres[chosen], self.sigma_m[chosen])


class Reason(Enum):
    """Why there is no pose."""

    NO_MAP = "no map is loaded"
    EMPTY_MAP = "the map has no landmarks"
    BAD_IMAGE = "the image cannot be used"
    TOO_FEW_KEYPOINTS = "too few keypoints in the image"
    NO_CANDIDATES = "no map image looks similar"
    TOO_FEW_MATCHES = "too few matches to the map"
    NO_CONSENSUS = "the matches agree on no pose"
    WEAK_EVIDENCE = "a pose was found, but the evidence for it is too weak"
    AMBIGUOUS = "two places explain the image about equally well"
    INCONSISTENT = "the pose contradicts what the ones before predict"
    BACKEND_FAILED = "the network failed on this image"


class FocalFit(NamedTuple):
    """With which focal length an image would fit the landmarks best.

    change: natural logarithm of its ratio to the one given (0.05: about 5 % longer); sigma: standard deviation of it.
    """

    change: float
    sigma: float


class Matched(NamedTuple):
    """Keypoints of an image and the landmarks that they resemble, as found without knowing a pose.

    keypoints_px: [M, 2], landmarks: [M], views: [M] as in Localized.
    """

    keypoints_px: Float32
    landmarks: Int32
    views: Int32


class Mode(Enum):
    """How a pose was found."""

    GLOBAL = "global"
    TRACKING = "tracking"


@dataclass(frozen=True, eq=False)
class Localized:
    """A pose that passed every check.

    map_from_camera: the camera's pose in the map. covariance: [6, 6], order (x, y, z, rx, ry, rz): position in metres
    and a small rotation in radians about the map's axes, applied on the left, as geometry_msgs defines it.
    matches, inliers: correspondences found without knowing the pose, and how many of them agree with it. keypoints_px:
    [N, 2], landmarks: [N], the correspondences that made the final pose, guided ones included. keyframes: map images
    that took part. coverage: share of an 8x6 grid of image cells with one of these keypoints, 0..1.
    reprojection_px: root mean square over them, at 640 px width. timings_s: stage name -> seconds. views: [N] the view
    of each correspondence, counted from 0. unused_px: [M, 2] keypoints that were matched and disagree, unused_views:
    [M] theirs. focal: of each view, None where it does not tell. confidence: probability of being right, 0..1.
    guided: keypoints explained when every place is looked at equally deeply, to compare look-alike places by. matched:
    of the place with most of them, None where only the surroundings of an expected pose were searched.
    map_name: of several maps, the one that the pose, keyframes and landmarks are of; "" for the only one.
    Of a rig, map_from_camera is the rig's pose, and the cells of all images count.
    """

    map_from_camera: Pose
    covariance: Array
    mode: Mode
    inliers: int
    matches: int
    keypoints_px: Float32
    landmarks: Int32
    keyframes: tuple[int, ...]
    coverage: float
    reprojection_px: float
    timings_s: Mapping[str, float] = field(default_factory=dict)
    views: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    unused_px: Float32 = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    unused_views: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    focal: tuple[FocalFit | None, ...] = ()
    confidence: float = float("nan")
    guided: int = 0
    matched: Matched | None = None
    map_name: str = ""

    @property
    def inlier_ratio(self) -> float:
        return self.inliers / max(self.matches, 1)

    @property
    def supporting(self) -> Matched:
        """The correspondences that made the pose."""
        views = self.views if len(self.views) == len(self.landmarks) else np.zeros(len(self.landmarks), np.int32)
        return Matched(self.keypoints_px, self.landmarks, views)


@dataclass(frozen=True, eq=False)
class NotLocalized:
    """No pose, and why. There is deliberately no pose field.

    unused_px: [M, 2] keypoints that were matched, as far as it came to that; unused_views: [M] whose they are.
    confidence: probability that the best pose found is right. places: where the images are AMBIGUOUS, each pose that
    explains them. focal: what each view said of its focal length, as far as it came to that. matched: as in Localized.
    """

    reason: Reason
    detail: str = ""
    matches: int = 0
    inliers: int = 0
    keyframes: tuple[int, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    unused_px: Float32 = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    unused_views: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))
    confidence: float = float("nan")
    places: tuple[Localized, ...] = ()
    focal: tuple[FocalFit | None, ...] = ()
    matched: Matched | None = None

    def __str__(self) -> str:
        return f"{self.reason.value} ({self.detail})" if self.detail else self.reason.value


Localization = Localized | NotLocalized
