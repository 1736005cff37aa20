"""Queries as if the camera had been turned about its optical axis."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
from helpers import textured_image

from hfnet_core.evaluation.depth_sequence import DepthFrame, DepthSequence, lift, turned
from hfnet_core.geometry import Pose
from hfnet_core.synthetic.walk import look

CAMERA = pycolmap.Camera(model="OPENCV", width=320, height=240, params=[300, 301, 162, 118, -0.1, 0.02, 0.001, 0.0])


def sequence() -> DepthSequence:
    depth = np.tile(np.linspace(2.0, 4.0, 320, dtype=np.float32), (240, 1))
    frame = DepthFrame(textured_image(320, 240), depth, look(np.array([1.0, 2.0, 3.0]), 0.3, 0.1))
    return DepthSequence(CAMERA, (frame,), (frame,))


@pytest.mark.parametrize("angle_deg", [25.0, -90.0])
def test_a_turned_view_shows_the_same_points_at_the_same_depth(angle_deg: float) -> None:
    before, after = sequence().query_frames[0], turned(sequence(), angle_deg).query_frames[0]
    assert after.map_from_camera.translation == pytest.approx(before.map_from_camera.translation)
    pixels = np.random.default_rng(0).uniform((90, 50), (230, 190), (50, 2)).astype(np.float32)
    points, known = lift(pixels, after, CAMERA)
    assert known.all()
    in_camera = before.map_from_camera.inverse().apply(points)
    column, row = np.rint(CAMERA.img_from_cam(in_camera)).astype(int).T
    np.testing.assert_allclose(in_camera[:, 2], before.depth_m[row, column], atol=0.02)
    x, y = np.rint(pixels).astype(int).T
    difference = after.image[y, x].astype(float) - before.image[row, column]
    assert np.median(np.abs(difference)) < 12


def test_what_the_photo_does_not_show_has_no_depth_and_the_map_stays() -> None:
    original = sequence()
    quarter = turned(original, 90.0)
    assert quarter.map_frames is original.map_frames
    assert (quarter.query_frames[0].depth_m[:, :20] == 0).all()
    np.testing.assert_array_equal(turned(original, 0.0).query_frames[0].depth_m, original.query_frames[0].depth_m)


def test_turning_is_clockwise_as_the_photographer_sees_it() -> None:
    position = np.array([1.0, 2.0, 3.0])
    expected = look(position, 0.3, 0.1, np.deg2rad(25.0))
    found: Pose = turned(sequence(), 25.0).query_frames[0].map_from_camera
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-12)
