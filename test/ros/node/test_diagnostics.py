from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_core.geometry import Pose
from hfnet_core.types import Localized, Mode, NotLocalized, Reason
from hfnet_ros.node.diagnostics import Health, Level, Whereabouts

LOCALIZED = Localized(
    map_from_camera=Pose(), covariance=1e-4 * np.eye(6), mode=Mode.TRACKING, inliers=40, matches=50,
    keypoints_px=np.zeros((40, 2), np.float32), landmarks=np.arange(40, dtype=np.int32), keyframes=(0, 1), coverage=0.5,
    reprojection_px=1.2,
)  # fmt: skip


def status(health: Health):
    return health.to_msg("node", "camera", 5).status[0]


def values(health: Health) -> dict[str, str]:
    return {item.key: item.value for item in status(health).values}


def test_states_before_the_first_image():
    health = Health()
    assert status(health).message == "unconfigured"
    health.state("active")
    assert status(health).message == "waiting for images"
    assert values(health)["localized"] == "false"


def test_results_and_latencies():
    health = Health()
    health.state("active")
    for milliseconds in range(1, 101):
        health.received()
        health.finished(LOCALIZED, {"total": milliseconds * 1e-3})
        health.published()
    found = values(health)
    assert status(health).level == bytes([Level.OK])
    assert found["inliers"] == "40"
    assert found["matches"] == "50"
    assert found["inlier ratio"] == "0.800"
    assert found["latency total p50/p95 [ms]"] == "50.5/95.0"
    assert found["images localized"] == "100"
    assert found["position sigma [m]"] == "0.0173"
    health.finished(NotLocalized(Reason.WEAK_EVIDENCE, "7 inliers", 20, 7), {})
    assert status(health).level == bytes([Level.WARN])
    assert "7 inliers" in status(health).message
    assert values(health)["reason code"] == "WEAK_EVIDENCE"
    assert "mode" not in values(health)


def test_the_worst_problem_leads_and_clears():
    health = Health()
    health.state("active")
    health.finished(LOCALIZED, {})
    assert health.problem("odometry", "late", Level.WARN)
    assert not health.problem("odometry", "late", Level.WARN)
    assert health.problem("camera", "silent")
    assert status(health).level == bytes([Level.ERROR])
    assert status(health).message == "silent; late"
    health.clear("camera")
    assert status(health).level == bytes([Level.WARN])
    health.clear("odometry")
    assert status(health).level == bytes([Level.OK])


def test_news_are_changes_of_kind_not_of_numbers():
    health = Health()
    health.state("active")
    health.finished(NotLocalized(Reason.NO_CONSENSUS, "12 matches"), {})
    first = health.summary()[2]
    health.finished(NotLocalized(Reason.NO_CONSENSUS, "13 matches"), {})
    assert health.summary()[2] == first
    health.finished(LOCALIZED, {})
    assert health.summary()[2] != first


def test_rates_and_counts():
    health = Health()
    health.state("active")
    for _ in range(21):
        health.received()
        time.sleep(0.01)
    assert 20 < float(values(health)["images in [Hz]"]) <= 100
    health.count("dropped", 2)
    health.count("dropped")
    assert values(health)["images dropped"] == "3"
    health.restart()
    assert values(health)["images received"] == "0"


class Said:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def info(self, text: str) -> None:
        self.texts.append(text)


def test_the_log_tells_the_first_pose_and_the_first_after_a_while(monkeypatch):
    log, times_s = Said(), (100.0, 100.1, 104.0, 116.4, 117.0)
    whereabouts, pose = Whereabouts(log), Pose(translation=np.array([1.0, -2.5, 0.25]))
    for now_s in times_s:
        monkeypatch.setattr(time, "monotonic", lambda now_s=now_s: now_s)
        whereabouts.heard(pose, 1e-4 * np.eye(6), "map")
    assert log.texts == [
        "first pose: x 1.00 y -2.50 z 0.25 m in map, known to 0.02 m",
        "a pose again, after 12 s without: x 1.00 y -2.50 z 0.25 m in map, known to 0.02 m",
    ]
