"""What the live demo says of poses while mapping."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from rich.console import Console

from hfnet_core.evaluation.metrics import Sample
from hfnet_core.geometry import Pose
from hfnet_ros.conversions import pose_to_transform
from hfnet_ros.live.meanwhile import Meanwhile, table_of
from hfnet_ros.replay.tape import Timing

S = 10**9


def at(x: float) -> Pose:
    return Pose(translation=np.array([x, 0.0, 0.0]))


def test_poses_are_counted_and_those_beyond_what_they_say_of_themselves() -> None:
    covariance = np.eye(6) * 0.02**2 / 3
    poses = [at(0.01), at(0.1), at(0.9), None]
    samples = [Sample(n, Pose(), pose, None if pose is None else covariance) for n, pose in enumerate(poses)]
    table, scores = table_of({"/mapping/pose": samples, "nobody": [Sample(0, Pose())]})
    assert (scores["/mapping/pose"].published, scores["/mapping/pose"].wrong) == (3, 1)
    out = io.StringIO()
    Console(file=out, width=120).print(table)
    row = next(line for line in out.getvalue().splitlines() if "/mapping/pose" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")][1:] == ["3 of 4", "10.0 / 90.0 cm", "2", "1"]


def test_map_to_odom_is_taken_at_the_stamp_of_each_image() -> None:
    listening = object.__new__(Meanwhile)
    from hfnet_core.recordings.transforms import TransformBuffer

    listening._frames, listening._transforms = ("map", "odom"), TransformBuffer()
    for second, x in ((10, 1.0), (12, 3.0)):
        listening._hear(SimpleNamespace(transforms=[pose_to_transform(at(x), "map", "odom", second * S)]))
    listening._hear(SimpleNamespace(transforms=[pose_to_transform(at(9.0), "odom", "base", 11 * S)]))
    images = [SimpleNamespace(stamp_ns=stamp * S, map_from_camera=at(2.5)) for stamp in (1, 2, 9)]
    timing = Timing("bag", 0, 9 * S, 1.0, restamped=True)
    found = listening.by_tf(SimpleNamespace(images=images), [at(0.5)] * 3, timing)  # type: ignore[arg-type]
    assert [item.error[0] if item.error is not None else None for item in found] == [
        pytest.approx(1.0),
        pytest.approx(0.0),
        None,
    ]
