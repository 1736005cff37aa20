"""Rendered places that look alike, and what the sensor and a recording make of ways through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.bags import Bag
from hfnet_core.synthetic.alike.corridor import corridor_of_doors
from hfnet_core.synthetic.alike.place import Place, Way, moved, told_apart
from hfnet_core.synthetic.alike.recording import MAPPED, record_way
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 80, 60, (60.0, 60.0, 39.5, 29.5))


@pytest.fixture(scope="module")
def corridor() -> Place:
    return corridor_of_doors()


@pytest.fixture(scope="module")
def renderer(corridor: Place) -> Renderer:
    return Renderer(CAMERA, corridor.quads, oversampling=1)


def test_doors_are_told_apart_only_at_the_end_of_the_corridor(corridor: Place, renderer: Renderer) -> None:
    visit = corridor.visits[0]
    told = [told_apart(renderer, pose, visit.doubles) for pose in (*visit.poses[5:15:3], visit.poses[-1])]
    assert max(told[:-1]) < 0.02
    assert told[-1] > 0.5


def test_moved_quads_look_the_same_from_a_moved_camera(corridor: Place, renderer: Renderer) -> None:
    turned = Pose.from_quat_xyzw([0, 0, 0.6, 0.8], [5.0, -3.0, 1.0])
    elsewhere = Renderer(CAMERA, moved(corridor.quads, turned), oversampling=1)
    pose = corridor.visits[0].poses[0]
    difference = np.abs(elsewhere.render(turned @ pose).astype(int) - renderer.render(pose))
    assert float(np.median(difference)) == 0.0
    assert float((difference > 16).mean()) < 0.02


def test_a_recording_has_the_exact_poses(corridor: Place, renderer: Renderer, tmp_path: Path) -> None:
    whole = corridor.visits[0]
    way = Way("short", whole.stamps_s[:3], whole.poses[:3])
    record_way(way, renderer, MAPPED, tmp_path / "bag", start_s=1000)
    with Bag(tmp_path / "bag") as bag:
        frames = list(bag.frames())
    assert [frame.stamp_ns for frame in frames] == [1000 * 10**9 + round(float(s) * 1e9) for s in way.stamps_s]
    for frame, pose in zip(frames, way.poses, strict=True):
        assert frame.image.shape == (60, 80, 3)
        assert frame.map_from_camera is not None
        assert pose_error(frame.map_from_camera, pose) == pytest.approx((0.0, 0.0), abs=1e-5)
