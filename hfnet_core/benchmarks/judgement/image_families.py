"""Images that are right, hard, or wrong on purpose, made from frames whose pose is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["AS_IT_IS", "COMPOSITE", "WRONG_CALIBRATION", "Asked", "Frame", "families"]

Image = NDArray[np.uint8]
AS_IT_IS = "as it is"
# Shows the place, as another camera would: what speaks against them is not the place.
WRONG_CALIBRATION = ("cropped and enlarged", "another focal length", "four tiles of a quarter")
# Shows the place in a part of the image, and something else in the rest: so does another place that has one thing in
# common with this one.
COMPOSITE = ("occluded", "two images in one")
_WRONG_FOCAL = (0.5, 1.5, 2.0)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image as it was taken. image: gray or RGB, 8 bit."""

    image: Image
    camera: Camera
    map_from_camera: Pose


@dataclass(frozen=True, eq=False)
class Asked:
    """An image and what may be answered: any of `truths`; with none, every pose is wrong. family: for people."""

    family: str
    image: Image
    camera: Camera
    truths: tuple[Pose, ...]


def families(frames: Sequence[Frame], foreign: Sequence[Image], seed: int = 0) -> Iterator[Asked]:
    """All of them, of all frames; then the foreign images as if the frames' camera had taken them."""
    rng = np.random.default_rng(seed)
    for number, frame in enumerate(frames):
        other = frames[int(rng.integers(len(frames)))]
        cover = foreign[int(rng.integers(len(foreign)))] if foreign else np.zeros((8, 8), np.uint8)
        yield from _of_frame(frame, other, cover, rng, deceive=number % 2 == 0)
    for image in foreign if frames else ():
        yield Asked("foreign", _like(image, frames[0].image), frames[0].camera, ())


def _of_frame(frame: Frame, other: Frame, cover: Image, rng: np.random.Generator, *, deceive: bool) -> Iterator[Asked]:
    image, camera, truth = frame.image, frame.camera, (frame.map_from_camera,)
    yield Asked(AS_IT_IS, image, camera, truth)
    yield Asked("dark and noisy", _dark(image, rng), camera, truth)
    yield Asked("blurred", _blurred(image), camera, truth)
    yield Asked(COMPOSITE[0], _covered(image, _like(cover, image), rng), camera, truth)
    if not deceive:
        return
    yield Asked("mirrored", np.ascontiguousarray(image[:, ::-1]), camera, ())
    yield Asked("upside down in a mirror", np.ascontiguousarray(image[::-1]), camera, ())
    yield Asked(COMPOSITE[1], _halves(image, other.image), camera, (*truth, other.map_from_camera))
    yield Asked(WRONG_CALIBRATION[2], _tiles(image), camera, ())
    yield Asked(WRONG_CALIBRATION[0], _enlarged(image), camera, truth)
    factor = float(rng.choice(_WRONG_FOCAL))
    yield Asked(WRONG_CALIBRATION[1], image, _times(camera, factor), truth)


def _dark(image: Image, rng: np.random.Generator) -> Image:
    share = rng.uniform(0.06, 0.3)
    return np.asarray(np.clip(rng.normal(0.0, 4.0, image.shape) + share * image, 0, 255), np.uint8)


def _blurred(image: Image) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(cv2.resize(small, (width, height)), (0, 0), 1.0), np.uint8)


def _covered(image: Image, cover: Image, rng: np.random.Generator) -> Image:
    """One side of the image hidden behind another one."""
    out, share = np.array(image), rng.uniform(0.5, 0.9)
    rows, columns = int(share * image.shape[0]), int(share * image.shape[1])
    hidden = (np.s_[:rows], np.s_[-rows:], np.s_[:, :columns], np.s_[:, -columns:])[int(rng.integers(4))]
    out[hidden] = cover[hidden]
    return out


def _halves(left: Image, right: Image) -> Image:
    out = np.array(left)
    out[:, left.shape[1] // 2 :] = right[:, left.shape[1] // 2 :]
    return out


def _tiles(image: Image) -> Image:
    height, width = image.shape[:2]
    quarter = image[: (height + 1) // 2, : (width + 1) // 2]
    return np.ascontiguousarray(np.tile(quarter, (2, 2) + (1,) * (image.ndim - 2))[:height, :width])


def _enlarged(image: Image) -> Image:
    height, width = image.shape[:2]
    inner = image[int(0.2 * height) : int(0.8 * height), int(0.2 * width) : int(0.8 * width)]
    return np.asarray(cv2.resize(inner, (width, height)), np.uint8)


def _times(camera: Camera, factor: float) -> Camera:
    focal = camera.focal_parameters
    return replace(camera, params=(*(factor * length for length in focal), *camera.params[len(focal) :]))


def _like(image: Image, frame: Image) -> Image:
    """In the size and with the channels of a frame."""
    resized: Any = cv2.resize(image, (frame.shape[1], frame.shape[0]))
    if frame.ndim == 2 and resized.ndim == 3:
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY), np.uint8)
    if frame.ndim == 3 and resized.ndim == 2:
        return np.asarray(cv2.cvtColor(resized, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(resized, np.uint8)
