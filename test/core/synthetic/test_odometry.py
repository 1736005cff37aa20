from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions, PoseOptions
from hfnet_core.synthetic.odometry import drifted
from hfnet_core.types import Camera

WAY = [Pose(np.eye(3), np.array([0.1 * index, 0.0, 0.0])) for index in range(101)]


def test_steps_are_nearly_right_and_the_way_is_not() -> None:
    said = drifted(WAY, ratio=0.02, deg_per_m=1.0, seed=4)
    assert pose_error(said[0], WAY[0]) == (0.0, 0.0)
    steps = [a.inverse() @ b for a, b in pairwise(said)]
    errors = np.array([pose_error(step, WAY[0].inverse() @ WAY[1]) for step in steps])
    assert errors[:, 0].max() < 0.01
    assert errors[:, 1].max() < 1.0
    metres, degrees = pose_error(said[-1], WAY[-1])
    assert 0.05 < metres < 2.0  # of ten metres
    assert 2.0 < degrees < 12.0
    assert pose_error(said[-1], drifted(WAY, ratio=0.02, deg_per_m=1.0, seed=4)[-1]) == (0.0, 0.0)


def test_it_is_recorded_as_odometry(tmp_path: Path) -> None:
    camera, image = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0)), np.zeros((48, 64), np.uint8)
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index, pose in enumerate(WAY[:4]):
            writer.camera_info(10**18 + index, camera)
            writer.image(10**18 + index, image)
            writer.odometry(10**18 + index, pose)
    with Bag(tmp_path / "bag", BagOptions(poses=PoseOptions(pose_topic="/odom"))) as bag:
        assert bag.poses_drift
        found = [item.map_from_camera for item in bag.timeline()]
    for pose, known in zip(found, WAY[:4], strict=True):
        assert pose is not None
        assert pose_error(pose, known)[0] < 1e-9
