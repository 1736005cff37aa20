"""Scores on cases small enough to work out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console
from scipy.spatial.transform import Rotation

from hfnet_core.config import EvaluationConfig
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.metrics import Sample, Spread, judge, nees, score
from hfnet_core.evaluation.report import print_score, rows, write_json
from hfnet_core.evaluation.trajectory import evo_statistics, nearest
from hfnet_core.geometry import Pose
from hfnet_core.recordings.tum import read_tum, write_tum

CONFIG = EvaluationConfig()
TRUTH = Pose(Rotation.from_euler("xyz", [20, -30, 40], degrees=True).as_matrix(), np.array([1.0, 2.0, 3.0]))


def sample(metres=0.0, degrees=0.0, index=0, **changes) -> Sample:
    turn = Rotation.from_rotvec(np.deg2rad([0.0, 0.0, degrees])).as_matrix()
    estimate = Pose(turn @ TRUTH.rotation, TRUTH.translation + np.array([metres, 0, 0]))
    return Sample(**{"stamp_ns": index * 10**8, "truth": TRUTH, "estimate": estimate, **changes})


def silent(index=0, **changes) -> Sample:
    return sample(index=index, estimate=None, **changes)


@pytest.mark.parametrize(
    ("metres", "degrees", "verdict"),
    [(0.0, 0.0, "right"), (0.49, 9.9, "right"), (0.51, 0.0, "wrong"), (0.0, 10.1, "wrong"), (-0.51, 0.0, "wrong")],
)
def test_verdicts(metres, degrees, verdict):
    assert judge(sample(metres, degrees), CONFIG) == verdict


def test_verdict_without_pose_or_truth():
    assert judge(silent(), CONFIG) == "silent"
    assert judge(sample(truth=None), CONFIG) == "untested"


def test_score_of_a_mixed_run():
    run = [
        sample(0.04, 1.0), sample(0.08, 4.9), sample(0.08, 5.1), sample(0.2, 1.0), sample(0.7, 0.0), sample(0.0, 20.0),
        silent(), silent(), silent(blind=True), sample(0.02, blind=True), sample(truth=None),
    ]  # fmt: skip
    result = score(run)
    assert (result.images, result.untested, result.published, result.wrong) == (10, 1, 7, 2)
    assert (result.blind, result.blind_published) == (2, 1)
    assert [recall.share for recall in result.recalls] == pytest.approx([1 / 8, 2 / 8, 3 / 8])
    assert result.published_share == pytest.approx(6 / 8)
    assert result.distance_m.p50 == pytest.approx(0.08)
    assert result.distance_m.max == pytest.approx(0.7)
    assert result.angle_deg.max == pytest.approx(20.0)
    assert result.latency_s is None
    assert result.mean_nees is None


def test_far_levels():
    config = EvaluationConfig(recall_levels="far")
    result = score([sample(0.2, 1.0), sample(0.4, 4.0), sample(4.0, 9.0), sample(0.2, 3.0)], config)
    assert [recall.share for recall in result.recalls] == pytest.approx([0.25, 0.75, 1.0])


def test_latencies_are_percentiles_of_what_was_published():
    run = [sample(latency_s=value / 1000) for value in range(1, 102)] + [silent()]
    spread = score(run).latency_s
    assert spread == Spread(pytest.approx(0.051), pytest.approx(0.096), pytest.approx(0.100), pytest.approx(0.101))


def test_nothing_published_scores_zero():
    result = score([silent(), silent(blind=True)])
    assert result.published_share == 0.0
    assert result.distance_m is None
    assert all(recall.share == 0.0 for recall in result.recalls)


def test_a_run_without_truth_is_refused():
    with pytest.raises(DatasetError, match="TUM"):
        score([sample(truth=None)])


def test_nees_by_hand():
    covariance = np.diag([0.01, 1, 1, 1, 1, 0.0004])
    assert nees(sample(0.2, covariance=covariance)) == pytest.approx(4.0)
    turned = nees(sample(0.0, np.rad2deg(0.02), covariance=covariance))  # about the map's z
    assert turned == pytest.approx(1.0)
    assert nees(silent(covariance=covariance)) is None
    assert nees(sample(0.1, covariance=np.zeros((6, 6)))) is None


def test_nees_of_errors_drawn_from_the_covariance_is_six():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T + 1e-6 * np.eye(6)
    run = []
    for error in rng.multivariate_normal(np.zeros(6), covariance, 2000):
        moved = Pose(Rotation.from_rotvec(error[3:]).as_matrix() @ TRUTH.rotation, TRUTH.translation + error[:3])
        run.append(sample(estimate=moved, covariance=covariance))
    assert score(run).mean_nees == pytest.approx(6.0, abs=0.3)


def test_wrong_poses_do_not_enter_the_calibration():
    covariance = np.diag([0.01] * 6)
    assert score([sample(0.1, covariance=covariance), sample(9.0, covariance=covariance)]).mean_nees == pytest.approx(
        1.0
    )


@pytest.mark.parametrize(("wanted", "found"), [(100, 1), (104, 1), (96, 1), (0, 0), (160, None), (-20, None)])
def test_nearest_stamp(wanted, found):
    assert nearest([0, 100, 111], wanted, 6e-9) == found
    assert nearest([], wanted, 1.0) is None


def test_tum_file_comes_back(tmp_path):
    stamp = 1_700_000_000_123_456_789
    write_tum(tmp_path / "poses.txt", [(stamp, TRUTH)])
    row = read_tum(tmp_path / "poses.txt")[0]
    assert row.stamp_ns == stamp
    assert np.allclose(row.pose.matrix(), TRUTH.matrix(), atol=1e-8)


def test_evo_agrees_with_us():
    pytest.importorskip("evo", reason="evo is not installed: pip install 'hfnet_ros[eval]'")
    statistics = evo_statistics([sample(0.3, index=0), sample(0.1, index=1), silent(2), sample(0.2, index=3)])
    assert statistics["ape_translation_m"]["rmse"] == pytest.approx(np.sqrt(0.14 / 3))
    assert statistics["ape_rotation_deg"]["max"] == pytest.approx(0.0, abs=1e-5)
    assert statistics["rpe_translation_m"]["max"] == pytest.approx(0.2)
    assert evo_statistics([sample()]) == {}


def test_table_and_json_say_what_the_score_says(tmp_path):
    run = [
        sample(0.04, 1.0, latency_s=0.05, covariance=np.eye(6)),
        silent(1, reason="too dark", blind=True),
        sample(0.9),
    ]
    result = score(run)
    table = dict(rows(result))
    assert table["localized"] == "2 of 2 (100.0 %)"
    assert table["images that show nothing, no pose published"] == "1 of 1"
    assert table["wrong poses (over 50 cm or 10 deg)"] == "1"
    assert table["within 5 cm, 5 deg"] == "50.0 %"
    assert table["latency, p50 / p95 / p99"] == "50 / 50 / 50 ms"
    console = Console(record=True, width=100, force_terminal=False)
    print_score(result, "a run", console=console)
    printed = console.export_text()
    assert all(name in printed and value in printed for name, value in table.items())
    write_json(tmp_path / "run.json", result, run, CONFIG, {"bag": "b"})
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["score"]["wrong"] == 1
    assert [item["verdict"] for item in content["images"]] == ["right", "silent", "wrong"]
    assert content["images"][1]["reason"] == "too dark"
    assert content["details"] == {"bag": "b"}
