"""Half a minute of `test/fuzz/soak.py`: whatever strangers send and ask for, the node lives, is right, and recovers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")
pytest.importorskip("onnx", reason="onnx is not installed: no stand-in model can be made")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))

from soak import Soak

SECONDS = float(os.environ.get("HFNET_SOAK_SECONDS", "30"))
ROUND_S = 8.0


@pytest.mark.timeout(1200)
def test_a_node_among_strangers_lives_publishes_no_wrong_pose_and_recovers(ros, tmp_path: Path) -> None:
    report = Soak(ros, tmp_path, seed=20261128).run(SECONDS, ROUND_S)
    assert not report.restarts
    assert not report.wrong
    assert not report.not_finite
    assert not report.not_recovered
    assert not report.unanswered
    assert report.recoveries >= 2  # at the start and after a round: a busy machine does few
    assert sum(report.trials.values()) > 10
    assert not report.tracebacks
