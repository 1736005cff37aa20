from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from bags import wall_drive
from circuit import aligned_error, circuit, with_drift
from drive import CAMERA, INFO, Drive
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.builder import Placed, build_from_keyframes, build_map
from hfnet_core.mapping.pairing.pair_matching import match_descriptors
from hfnet_core.mapping.solving.closures import LocalPoints, close_loops, closure_candidates, verify_closure
from hfnet_core.mapping.solving.odometry import Link, Odometry
from hfnet_core.mapping.solving.pose_graph import optimise
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.projection import project_in_camera
from hfnet_core.synthetic.odometry import drifted


def odometry_of(poses: list[Pose], drives: list[int] | None = None, drifting: list[bool] | None = None) -> Odometry:
    count = len(poses)
    drives = drives or [0] * count
    stamps = [index * 10**8 for index in range(count)]
    return Odometry(poses, stamps, drives, drives, drifting or [True] * count, MapBuildConfig())


def ring(count: int = 60, laps: int = 2) -> list[Pose]:
    out = []
    for angle in np.linspace(0, 2 * np.pi * laps, count, endpoint=False):
        turn = Rotation.from_euler("z", angle).as_matrix()
        out.append(Pose(turn, np.array([3 * np.cos(angle), 3 * np.sin(angle), 0.0])))
    return out


def link(poses: list[Pose], first: int, second: int, sigma_m: float = 0.02) -> Link:
    return Link(first, second, poses[first].inverse() @ poses[second], sigma_m, 0.01)


def build(scene: Drive) -> LandmarkMap:
    return build_from_keyframes(Placed(scene.keyframes), INFO, MapBuildConfig())


def poses_of(found: LandmarkMap) -> list[Pose]:
    return [found.map_from_camera(index) for index in range(found.keyframes)]


def test_drift_is_as_large_as_it_is_said_to_be() -> None:
    straight = [Pose(translation=np.array([0.0, 0.0, 0.1 * i])) for i in range(201)]
    lengths, turns = [], []
    for seed in range(10):
        found = drifted(straight, ratio=0.01, deg_per_m=0.0, seed=seed)
        lengths.append(np.linalg.norm(found[-1].translation) / 20)
        turns.append(pose_error(drifted(straight, ratio=0.0, deg_per_m=0.5, seed=seed)[10], straight[10])[1])
    assert 0.003 < np.abs(np.array(lengths) - 1).mean() < 0.01
    assert 0.1 < np.mean(turns) < 0.5
    again = drifted(straight, seed=3)[-1].translation
    assert (again == drifted(straight, seed=3)[-1].translation).all()
    assert (again != drifted(straight, seed=4)[-1].translation).any()


def test_a_pose_graph_closes_a_loop_and_rejects_false_links() -> None:
    truth = ring()
    moved = drifted(truth, ratio=0.03, deg_per_m=2.0, seed=1)
    assert aligned_error(moved, truth) > 0.3
    closures = [link(truth, i, i + 30) for i in range(0, 30, 2)]
    wrong = [link(truth, i, i + 15) for i in range(5)]
    wrong = [replace(item, second=item.second + 6) for item in wrong]  # looks the same, is further on
    found, holds = close_loops(moved, odometry_of(moved), [*closures, *wrong])
    assert holds[: len(closures)].all()
    assert not holds[len(closures) :].any()
    assert aligned_error(found, truth) < 0.25 * aligned_error(moved, truth)


def test_odometry_alone_stays_as_it_is() -> None:
    moved = drifted(ring(), seed=2)
    found, holds = close_loops(moved, odometry_of(moved), [])
    assert not len(holds)
    assert max(pose_error(a, b)[0] for a, b in zip(found, moved, strict=True)) < 1e-6


def test_closures_that_no_drift_could_explain_are_refused_even_when_they_agree() -> None:
    truth = ring(30, 1)
    odometry = odometry_of(truth)
    far = Pose(translation=np.array([8.0, 0.0, 0.0]))
    closures = [Link(i, i + 6, truth[i].inverse() @ far @ truth[i + 6], 0.02, 0.01) for i in range(12)]
    found, holds = close_loops(truth, odometry, closures)
    assert not holds.any()
    assert max(pose_error(a, b)[0] for a, b in zip(found, truth, strict=True)) < 1e-3


def test_a_graph_finds_exact_poses_from_a_bad_start() -> None:
    truth = ring(20, 1)
    rng = np.random.default_rng(0)
    start = [Pose(pose.rotation @ Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix(), pose.translation
                  + rng.normal(0, 0.5, 3)) for pose in truth]  # fmt: skip
    start[0] = truth[0]
    links = [link(truth, i, (i + 1) % 20) for i in range(20)] + [link(truth, i, i + 5) for i in range(10)]
    found, _ = optimise(start, links, [], [0])
    assert max(pose_error(a, b)[0] for a, b in zip(found, truth, strict=True)) < 1e-5


def test_a_second_drive_with_an_origin_of_its_own_is_joined_by_what_both_see() -> None:
    truth = ring()
    away = Pose(Rotation.from_euler("z", 130, degrees=True).as_matrix(), np.array([40.0, -7.0, 0.0]))
    poses = truth[:30] + [away @ pose for pose in truth[30:]]
    drives = [0] * 30 + [1] * 30
    closures = [link(truth, i, i + 30) for i in range(0, 30, 3)]
    found, holds = close_loops(poses, odometry_of(poses, drives), closures)
    assert holds.all()
    assert max(pose_error(a, b)[0] for a, b in zip(found, truth, strict=True)) < 1e-3
    with pytest.raises(DatasetError, match=r"1 .* cannot be joined"):
        close_loops(poses, odometry_of(poses, drives), closures[:2])


def test_a_drifting_drive_finds_its_place_in_one_with_given_poses_which_stay() -> None:
    truth = ring()
    away = Pose(translation=np.array([5.0, 5.0, 1.0]))
    poses = truth[:30] + [away @ pose for pose in drifted(truth[30:], seed=1)]
    odometry = odometry_of(poses, [0] * 30 + [1] * 30, [False] * 30 + [True] * 30)
    found, _ = close_loops(poses, odometry, [link(truth, i, i + 30) for i in range(0, 30, 3)])
    assert all((a.translation == b.translation).all() for a, b in zip(found[:30], truth, strict=False))
    assert max(pose_error(a, b)[0] for a, b in zip(found[30:], truth[30:], strict=True)) < 0.05


def test_candidates_look_elsewhere_than_next_door() -> None:
    scene = circuit(90, laps=1.5, keypoints=40)
    descriptors = np.array([keyframe.features.global_descriptor for keyframe in scene.keyframes])
    pairs = closure_candidates(descriptors, [0] * 90)
    gaps = np.array([second - first for first, second in pairs])
    assert gaps.min() > 5
    assert (np.abs(gaps - 60) <= 3).sum() >= 25  # one lap later, the same place
    two = closure_candidates(descriptors, [0] * 45 + [1] * 45)
    assert (44, 45) not in pairs
    assert any(second - first <= 5 for first, second in two)  # neighbours in another recording are worth a look


def test_a_drive_with_loops_loses_its_drift() -> None:
    scene = with_drift(circuit(60, keypoints=60), ratio=0.02, deg_per_m=3.0, seed=1)
    before = aligned_error([keyframe.map_from_camera for keyframe in scene.keyframes], scene.truth)
    found = build(scene)
    assert before > 0.1
    assert aligned_error(poses_of(found), scene.truth) < 0.3 * before
    loops = found.provenance["loop_closures"]
    assert loops["consistent"] >= 10
    assert found.provenance["statistics"]["reprojection_rmse_px"] < 1.0
    first = found.map_from_camera(0)
    assert pose_error(first, scene.truth[0])[0] < 0.02  # the frame is that of the first keyframe's odometry
    assert 0 < found.pose_sigma_m < 0.02  # of a step, not of the way that loops have corrected


def test_a_drive_without_loops_keeps_its_scale_and_gets_straighter() -> None:
    scene = with_drift(circuit(30, laps=0.5, keypoints=60), ratio=0.01, deg_per_m=5.0, seed=3)
    before = aligned_error([keyframe.map_from_camera for keyframe in scene.keyframes], scene.truth)
    found = build(scene)
    poses = poses_of(found)
    assert found.provenance["loop_closures"]["consistent"] <= 3 * 30
    assert aligned_error(poses, scene.truth) < before
    way, true = (sum(pose_error(a, b)[0] for a, b in pairwise(path))
                 for path in (poses, scene.truth))  # fmt: skip
    assert way == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize(
    ("frame", "mode", "expected", "named"),
    [
        ("odom", "auto", "drifting", "map"),  # what a robot calls odom must not be its map
        ("robot1/odom", "auto", "drifting", "map"),
        ("map", "auto", "given", "map"),  # simulators publish the truth as odometry
        ("odom", "given", "given", "odom"),
        ("map", "drifting", "drifting", "map"),
    ],
)
def test_odometry_is_taken_for_what_it_is(tmp_path: Path, frame: str, mode: str, expected: str, named: str) -> None:
    bag = wall_drive(tmp_path / "bag", odometry_in=frame)
    said: list[str] = []
    found = build_map([bag], SiftExtractor(ExtractorConfig(max_keypoints=300)), MapBuildConfig(pose_mode=mode),
                      progress=lambda stage, done, total: said.append(stage))  # fmt: skip
    assert found.provenance["pose_mode"] == expected
    assert found.frame_id == named
    assert ("loop_closures" in found.provenance) == (expected == "drifting")
    assert any("drift" in text for text in said) == (expected == "drifting")
    assert "gravity" in found.provenance
    assert np.linalg.norm(found.map_from_camera(found.keyframes - 1).translation - (1.12, 0, 0)) < 0.05


def test_two_drives_with_odometry_become_one_map() -> None:
    scene = with_drift(circuit(60, keypoints=80), seed=2)
    away = Pose(Rotation.from_euler("z", 70, degrees=True).as_matrix(), np.array([-20.0, 3.0, 0.0]))
    second = [replace(k, recording=1, drive=1, map_from_camera=away @ k.map_from_camera) for k in scene.keyframes[35:]]
    found = build(Drive(scene.points, scene.truth, [*scene.keyframes[:35], *second]))
    assert aligned_error(poses_of(found), scene.truth) < 0.05
    assert aligned_error([*scene.truth[:35], *(k.map_from_camera for k in second)], scene.truth) > 3


def test_a_closure_is_measured_where_two_keyframes_see_the_same_and_refused_where_matches_are_accidents() -> None:
    scene = circuit(4, laps=0.03, keypoints=200)
    rng = np.random.default_rng(0)
    first, second = scene.keyframes[:2]
    matches = match_descriptors(first.features.descriptors, second.features.descriptors, 0.9)
    points = tuple(local_points(scene, index) for index in (0, 1))
    keypoints = (first.features.keypoints_px, second.features.keypoints_px)
    found = verify_closure(matches, points, keypoints, (CAMERA, CAMERA))
    assert found is not None
    relative, sigma_m, sigma_rad = found
    metres, degrees = pose_error(relative, scene.truth[0].inverse() @ scene.truth[1])
    assert metres < 3 * sigma_m < 0.15
    assert np.radians(degrees) < 3 * sigma_rad < 0.1
    accidents = np.column_stack([matches[:, 0], rng.permutation(matches[:, 1])]).astype(np.int32)
    assert verify_closure(accidents, points, keypoints, (CAMERA, CAMERA)) is None
    assert verify_closure(matches[:15], points, keypoints, (CAMERA, CAMERA)) is None
    bent = (points[0], LocalPoints(points[1].keypoints, points[1].xyz * 3))  # directions agree, distances do not
    assert verify_closure(matches, bent, keypoints, (CAMERA, CAMERA)) is None


def local_points(scene: Drive, index: int) -> LocalPoints:
    """The true landmark of every keypoint, in the camera frame."""
    pixels = project_in_camera(CAMERA, (inside := scene.truth[index].inverse().apply(scene.points)))
    seen = np.flatnonzero(np.isfinite(pixels).all(axis=1) & (inside[:, 2] < 8))
    _, nearest = cKDTree(pixels[seen]).query(scene.keyframes[index].features.keypoints_px)
    return LocalPoints(np.arange(len(nearest)), inside[seen[nearest]])
