"""Calibrations that cannot be true, told by their numbers: of another resolution, a placeholder, damaged.

A pose found with a wrong calibration looks right and is metres off, so what is impossible is refused before any pose
is looked for, and what is unlikely is said. The bounds are wide: no lens of a common camera comes near the impossible.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Camera

__all__ = ["check_against_map", "check_possible", "corrected_by", "doubts_about"]

TRUST = "--trust-calibration (trust_calibration in ROS)"

_FOCAL_WIDTHS = (0.2, 5.0)  # of the longer side: views of 136 and 11 degrees
_CENTRE, _USUAL_CENTRE = (0.27, 0.73), (0.42, 0.58)  # principal point, in shares of width and height
_ASPECT, _USUAL_ASPECT = (0.5, 2.0), (0.9, 1.1)  # fx / fy
_VALID, _USUALLY_VALID = 0.5, 0.95  # share of the image in which the distortion has an inverse
_BENDING = (0.4, 2.5)  # angle at the image's edge, by that of a pinhole camera
_DIRECTIONS, _STEPS = 48, 400  # rays over which distortion is followed from the principal point outwards
_WIDEST_DEG = 89.5  # rays beyond are behind the plane that projection needs

_OTHER_SCALE = 0.12  # relative change of K against the map's that means another resolution ...
_CORRECTED = 0.03  # relative change of the focal length by images that is more than what calibrations are off by
_REFUTED = 0.15  # the same, which no calibration of these images is off by
_FOLLOWS = 0.025  # ... if the principal point follows it to this share of the image
_SAME_PX = 1.5  # a principal point this close to the map's, and not to the image's middle, is of the same camera
_SAME_FOCAL, _SAME_CENTRE = 0.03, 0.05  # two calibrations of one camera: relative, share of the image


def check_possible(camera: Camera, *, binned: bool = False) -> None:
    """Raises DatasetError, with the remedy, for a calibration that cannot be one of an image of its size.

    camera: of the whole sensor, before a region is cut out. binned: the image is told to be reduced by binning.
    """
    reason = next((finding.text for finding in _findings(camera) if finding.impossible), None)
    if reason is None:
        return
    hint = (
        "with binning K must be that of the full resolution"
        if binned
        else "is it of another resolution? Calibrate this one, or pass --calibration"
    )
    raise DatasetError(f"calibration cannot be true: {reason}; {hint}. If it is right, pass {TRUST}")


def doubts_about(camera: Camera) -> tuple[str, ...]:
    """What is unlikely, though possible, in a calibration of the whole sensor; one sentence each."""
    return tuple(finding.text for finding in _findings(camera) if not finding.impossible)


def check_against_map(camera: Camera, known: Iterable[Camera]) -> str:
    """A warning where a calibration differs from every one of the map's cameras of the same size, "" otherwise.

    known: the map's cameras. Raises DatasetError where they show that it is of another resolution.
    """
    cameras = tuple(known)
    said = _contradiction(camera, cameras)
    if said:
        raise DatasetError(said)
    return _difference(camera, cameras)


def corrected_by(given: Camera, found: Camera, *, refuse: bool = False) -> str:
    """A warning where images have found another focal length than was given, "" otherwise.

    Raises DatasetError, if wished, where the two are too far apart for any calibration of these images: what else is
    wrong with it, such as the principal point, was not found by the images, and poses pay for it.
    """
    (given_px, _), (found_px, _) = _paraxial(given), _paraxial(found)
    if abs(found_px / given_px - 1) < _CORRECTED:
        return ""
    said = (
        f"the images fit a focal length of {found_px:.0f} px, the calibration of {_size(given)} says {given_px:.0f}: "
        "is it of another resolution or camera?"
    )
    if refuse and abs(np.log(found_px / given_px)) > np.log1p(_REFUTED):
        raise DatasetError(
            f"calibration cannot be true: {said} Calibrate this one, or pass --calibration; to make the map with what "
            f"the images say, pass {TRUST}"
        )
    return f"{said} The map is made with what the images say; calibrate the camera"


def _contradiction(camera: Camera, known: Iterable[Camera]) -> str:
    """How the map shows that a calibration is of another resolution, "" where it does not.

    The same size of image and the map's K times a factor, principal point included, is no other lens: its principal
    point would have stayed. And the same principal point, to a pixel, is of the same camera, whose focal length stays.
    """
    same_size = [other for other in known if (other.width, other.height) == (camera.width, camera.height)]
    if not same_size or any(_alike(camera, other) for other in same_size):
        return ""
    for other in same_size:
        sx, sy = (a / b for a, b in zip(_paraxial(camera), _paraxial(other), strict=True))
        if max(abs(sx - 1), abs(sy - 1)) <= _OTHER_SCALE:
            continue
        shown = ""
        if _follows(camera, other, (sx, sy)):
            theirs = f"{camera.width * sx:.0f}x{camera.height * sy:.0f}"
            shown = f"principal point included, so it is of images of about {theirs}"
        elif _same_centre(camera, other):
            shown = "but for the principal point, which is the same to a pixel, so it is of the same camera"
        if shown:
            return (
                f"calibration cannot be true: K is that of the map's camera of {_size(camera)} times {sx:.3g} and "
                f"{sy:.3g}, {shown}; give the calibration of these images. If it is right, pass {TRUST}"
            )
    return ""


def _difference(camera: Camera, known: Iterable[Camera]) -> str:
    same_size = [other for other in known if (other.width, other.height) == (camera.width, camera.height)]
    if not same_size or any(_alike(camera, other) for other in same_size):
        return ""
    theirs = ", ".join(_k(other) for other in same_size[:3])
    return (
        f"the calibration ({_k(camera)}) is unlike that of the map's camera of the same {_size(camera)} ({theirs}): if "
        "it is the same camera, one of the two is wrong and poses are off"
    )


@dataclass(frozen=True)
class _Finding:
    """Something odd in a calibration; no camera has what is impossible."""

    text: str
    impossible: bool


def _findings(camera: Camera) -> Iterator[_Finding]:
    """All that is odd in the numbers, in the order in which it is told."""
    longer = max(camera.width, camera.height)
    for name, focal in zip(("fx", "fy"), _paraxial(camera), strict=True):
        if not _within(focal / longer, _FOCAL_WIDTHS):
            said = f"{name} = {focal:g} is {focal / longer:.3g} times the longer side of {_size(camera)}"
            yield _Finding(said, impossible=True)
    yield from _centre_findings(camera)
    aspect = _aspect(camera)
    if not _within(aspect, _ASPECT):
        yield _Finding(f"fx / fy = {aspect:.3g}, no pixel is that far from square", impossible=True)
    elif not _within(aspect, _USUAL_ASPECT):
        said = f"fx / fy = {aspect:.3g}: pixels are not square, or K is of another resolution"
        yield _Finding(said, impossible=False)
    valid, bending = _distortion_of(camera)
    if valid < _VALID:
        said = f"its distortion {_numbers(camera)} folds back on itself in {100 * (1 - valid):.0f} % of the image"
        yield _Finding(said, impossible=True)
    elif not _within(bending, _BENDING):
        said = f"its distortion {_numbers(camera)} bends the edge of the image to {bending:.2g} times the angle"
        yield _Finding(said, impossible=True)
    elif valid < _USUALLY_VALID:
        said = f"the distortion holds only in {100 * valid:.0f} % of the image and folds back on itself beyond"
        yield _Finding(said, impossible=False)


def _centre_findings(camera: Camera) -> Iterator[_Finding]:
    """What is odd about the principal point."""
    shares = _centre(camera)
    for name, side, share in zip(("cx", "cy"), ("width", "height"), shares, strict=True):
        if not _within(share, _CENTRE):
            said = f"{name} puts the principal point at {100 * share:.0f} % of the {side} of {_size(camera)}"
            yield _Finding(f"{said}, far from the middle", impossible=True)
    if not all(_within(share, _USUAL_CENTRE) for share in shares):
        cx, cy = camera.principal_point
        yield _Finding(
            f"the principal point is at {100 * shares[0]:.0f} % of the width and {100 * shares[1]:.0f} % of the height "
            f"of {_size(camera)}: K looks like that of images of about {2 * cx + 1:.0f}x{2 * cy + 1:.0f}",
            impossible=False,
        )


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _centre(camera: Camera) -> tuple[float, float]:
    """The principal point in shares of width and height."""
    cx, cy = camera.principal_point
    return (cx + 0.5) / camera.width, (cy + 0.5) / camera.height


def _paraxial(camera: Camera) -> tuple[float, float]:
    """(fx, fy) near the optical axis: in some models the parameters of that name are scaled by the distortion's."""
    small = 1e-3
    axis, right, down = project_in_camera(camera, np.array([[0.0, 0.0, 1.0], [small, 0.0, 1.0], [0.0, small, 1.0]]))
    fx, fy = float((right - axis)[0]) / small, float((down - axis)[1]) / small
    return (fx, fy) if fx > 0 and fy > 0 and np.isfinite((fx, fy)).all() else camera.focal_length


def _aspect(camera: Camera) -> float:
    return camera.focal_length[0] / camera.focal_length[1]


@functools.lru_cache(maxsize=64)  # of one camera it is asked several times
def _distortion_of(camera: Camera) -> tuple[float, float]:
    """(share of the image that projection reaches without turning back, angle at its edge by that of a pinhole).

    Rays are followed from the optical axis outwards in all directions until they leave the image.
    """
    if not any(camera.distortion) and camera.model in ("PINHOLE", "SIMPLE_PINHOLE"):
        return 1.0, 1.0
    azimuth = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)
    theta = np.radians(np.linspace(0.0, _WIDEST_DEG, _STEPS))
    rays = np.stack(
        [
            np.outer(np.cos(azimuth), np.sin(theta)),
            np.outer(np.sin(azimuth), np.sin(theta)),
            np.broadcast_to(np.cos(theta), (_DIRECTIONS, _STEPS)),
        ],
        axis=-1,
    )
    with np.errstate(all="ignore"):
        pixels = project_in_camera(camera, rays.reshape(-1, 3)).reshape(_DIRECTIONS, _STEPS, 2)
        focal = float(np.mean(_paraxial(camera)))
        shares, bendings = zip(*(_along(camera, theta, line, focal) for line in pixels), strict=True)
    return float(np.mean(np.square(shares))), float(np.median(bendings))


def _along(camera: Camera, theta: Array, line: Array, focal: float) -> tuple[float, float]:
    """The same along one direction: share of the way to the image's edge, and bending there."""
    reach: Array = np.linalg.norm(line - camera.principal_point, axis=1)
    grows = np.asarray(np.diff(reach) > 0, dtype=bool)
    valid = len(reach) if grows.all() else 1 + int(np.argmin(grows))  # NaN does not grow
    within = np.asarray((line >= -0.5) & (line <= (camera.width - 0.5, camera.height - 0.5)), dtype=bool)
    left = np.flatnonzero(~np.asarray(within.all(axis=1), dtype=bool)[:valid])
    if left.size:  # at the edge: before the first that is outside
        last = max(int(left[0]), 1)
        return 1.0, float(theta[last] / np.arctan(reach[last] / focal))
    if valid == len(reach):
        return 1.0, 1.0  # wider than half a sphere
    outwards = line[max(valid - 1, 1)] - camera.principal_point
    return _share_of_way(camera, outwards), 1.0


def _share_of_way(camera: Camera, outwards: Array) -> float:
    """How far along its direction a vector [2] from the principal point reaches to the image's edge."""
    (cx, cy), (dx, dy) = camera.principal_point, outwards
    if not np.isfinite(outwards).all():
        return 0.0
    across = abs(dx) / max((camera.width - 0.5 - cx) if dx > 0 else cx + 0.5, 1e-9)
    down = abs(dy) / max((camera.height - 0.5 - cy) if dy > 0 else cy + 0.5, 1e-9)
    return float(min(max(across, down), 1.0))


def _alike(camera: Camera, other: Camera) -> bool:
    focal = np.divide(_paraxial(camera), _paraxial(other))
    away = np.subtract(_centre(camera), _centre(other))
    return bool((np.abs(focal - 1) < _SAME_FOCAL).all() and (np.abs(away) < _SAME_CENTRE).all())


def _follows(camera: Camera, other: Camera, scale: tuple[float, float]) -> bool:
    """Whether the principal point has changed by the same factors as the focal lengths, and not stayed."""
    here, there = np.array(_centre(camera)), np.array(_centre(other))
    scaled = np.abs(here - np.array(scale) * there)
    stayed = np.abs(here - there)
    return bool((scaled < _FOLLOWS).all() and stayed.max() > 2 * _FOLLOWS)


def _same_centre(camera: Camera, other: Camera) -> bool:
    """Whether both have one principal point that is not simply the middle of the image, as of simulated cameras."""
    here, there = np.array(camera.principal_point), np.array(other.principal_point)
    middle = np.array([camera.width - 1, camera.height - 1]) / 2
    return bool(np.abs(here - there).max() < _SAME_PX and np.abs(here - middle).max() > _SAME_PX)


def _numbers(camera: Camera) -> str:
    return f"({', '.join(f'{value:.4g}' for value in camera.distortion)})"


def _k(camera: Camera) -> str:
    (fx, fy), (cx, cy) = _paraxial(camera), camera.principal_point
    return f"fx {fx:.4g} fy {fy:.4g} cx {cx:.4g} cy {cy:.4g}"


def _size(camera: Camera) -> str:
    return f"{camera.width}x{camera.height}"
