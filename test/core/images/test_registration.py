"""Depth of another camera, brought into the pixels of the colour camera."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.images.depth import DepthImage, ranges_at
from hfnet_core.images.registration import DepthMount, register
from hfnet_core.projection import rays_of
from hfnet_core.types import Camera

DEPTH = Camera("PINHOLE", 320, 240, (292.0, 292.0, 159.5, 119.5))
COLOUR = Camera("OPENCV", 320, 240, (262.0, 262.0, 163.0, 117.0, 0.05, -0.02, 0.0, 0.0))
TURN = Pose.from_quat_xyzw([0.0, 0.02, 0.0, 1.0], [0.05, 0.0, 0.01])


def wall_m(camera: Camera, camera_from_wall: Pose) -> np.ndarray:
    """Depth [H, W] of the plane z = 2 of another frame."""
    y, x = np.mgrid[: camera.height, : camera.width]
    rays = rays_of(camera, np.stack([x.ravel(), y.ravel()], axis=1))
    normal = camera_from_wall.rotation[:, 2]
    far = (2.0 + normal @ camera_from_wall.translation) / (rays @ normal)
    return (far * rays[:, 2]).reshape(camera.height, camera.width)


def test_a_slanting_wall_is_where_the_colour_camera_sees_it() -> None:
    slanting = Pose.from_quat_xyzw([0.1, 0.15, 0.0, 1.0], [0.0, 0.0, 0.0])
    depth = DepthImage(wall_m(DEPTH, slanting).astype(np.float32))
    found = register(depth, DepthMount(DEPTH, TURN), COLOUR)
    points = np.stack([x.ravel() for x in np.mgrid[30:290:20.0, 30:210:20.0]], axis=1)
    ranges = ranges_at(found, points, COLOUR.width, COLOUR.height)
    expected = wall_m(COLOUR, TURN @ slanting)[points[:, 1].astype(int), points[:, 0].astype(int)]
    assert np.isfinite(ranges.metres).mean() > 0.9
    assert np.nanmax(np.abs(ranges.metres - expected)) < 0.01
    unmoved = ranges_at(depth, points, COLOUR.width, COLOUR.height)
    assert np.nanmedian(np.abs(unmoved.metres - expected)) > 0.03  # it would have been another distance


def test_what_stands_before_a_wall_hides_it_from_the_colour_camera() -> None:
    metres = np.full((240, 320), 3.0, np.float32)
    metres[:, 100:160] = 1.0
    aside = DepthMount(DEPTH, Pose(translation=np.array([0.1, 0.0, 0.0])))
    plain = Camera("PINHOLE", 320, 240, (292.0, 292.0, 159.5, 119.5))
    ranges = ranges_at(register(DepthImage(metres), aside, plain), np.array([[140.0, 120.0], [250.0, 120.0]]), 320, 240)
    assert ranges.metres == pytest.approx([1.0, 3.0])  # the box has moved by 29 pixels, the wall by 10
    shadow = register(DepthImage(metres), aside, plain).metres[90]  # of 240 * 0.75 rows
    assert (shadow == 0).sum() > 10  # what the box hid from the depth camera is unknown, not made up


def test_a_colour_image_of_many_more_pixels_gets_a_coarser_depth_without_holes() -> None:
    large = Camera("PINHOLE", 1920, 1080, (1380.0, 1380.0, 959.5, 539.5))
    depth = DepthImage(np.full((240, 320), 2.0, np.float32))
    found = register(depth, DepthMount(DEPTH, Pose()), large)
    assert found.metres.shape[1] < DEPTH.width
    ranges = ranges_at(found, np.array([[400.0, 540.0], [959.0, 200.0], [1500.0, 900.0]]), 1920, 1080)
    assert ranges.metres == pytest.approx([2.0, 2.0, 2.0])


def test_depth_of_another_size_than_its_calibration_is_refused() -> None:
    with pytest.raises(DatasetError, match="depth of 160x120 is not of the camera of its camera_info, 320x240"):
        register(DepthImage(np.zeros((120, 160), np.float32)), DepthMount(DEPTH, Pose()), COLOUR)


def test_an_empty_depth_image_stays_empty() -> None:
    assert not register(DepthImage(np.zeros((240, 320), np.float32)), DepthMount(DEPTH, TURN), COLOUR).metres.any()
