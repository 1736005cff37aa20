from __future__ import annotations

import itertools

import numpy as np
import pytest
from drive import perturbed
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.images_alone.scale import (
    Scale,
    align,
    require_scale_source,
    scale_from_distance,
    scale_from_odometry,
    turned_deg,
)
from hfnet_core.mapping.keyframes.known_distance import KnownDistance, known_distance, named_images

FACTOR = 3.7
TURNED = Pose(Rotation.from_euler("xyz", (40, -20, 100), degrees=True).as_matrix(), np.array([5.0, -3.0, 1.0]))


def winding(count: int = 60) -> list[Pose]:
    """A drive of about 30 m with bends."""
    turns = np.cumsum(0.15 * np.sin(np.arange(count) / 4))
    steps = 0.5 * np.column_stack([np.cos(turns), np.sin(turns), np.zeros(count)])
    places = np.cumsum(steps, axis=0)
    return [Pose(Rotation.from_euler("z", turn).as_matrix(), place) for turn, place in zip(turns, places, strict=True)]


def structure_of(truth: list[Pose]) -> list[Pose | None]:
    """The same drive in another frame and in other units."""
    moved = [TURNED.inverse() @ pose for pose in truth]
    return [Pose(pose.rotation, pose.translation / FACTOR) for pose in moved]


def drifting(truth: list[Pose], share: float, degrees_per_m: float) -> list[Pose]:
    out = [Pose()]
    for before, after in itertools.pairwise(truth):
        step = before.inverse() @ after
        metres = float(np.linalg.norm(step.translation))
        turn = Rotation.from_euler("z", degrees_per_m * metres, degrees=True).as_matrix()
        out.append(out[-1] @ Pose(turn @ step.rotation, (1 + share) * step.translation))
    return out


def test_exact_odometry_gives_the_exact_scale_and_frame() -> None:
    truth = winding()
    structure = structure_of(truth)
    scale = scale_from_odometry(structure, truth, [0] * len(truth))
    assert scale.factor == pytest.approx(FACTOR)
    assert scale.spread < 1e-9
    moved = align(structure, truth, scale)
    for pose, wanted in zip(structure, truth, strict=True):
        assert pose is not None
        assert max(pose_error(moved.move(pose), wanted)) < 1e-6


@pytest.mark.parametrize("degrees", [0.0, 8.0, 90.0, 180.0])
def test_a_wrong_mounting_shows_in_the_way_that_the_camera_moves(degrees: float) -> None:
    truth = winding()
    turn = Pose(Rotation.from_euler("z", degrees, degrees=True).as_matrix())
    odometry = [pose @ turn for pose in drifting(truth, 0.02, 0.5)]  # its frame and its drift say nothing against it
    assert turned_deg(structure_of(truth), odometry) == pytest.approx(degrees, abs=1.0)


def test_odometry_that_stands_still_contradicts_nothing() -> None:
    truth = winding()
    assert turned_deg(structure_of(truth), [TURNED] * len(truth)) == 0.0
    assert turned_deg([None] * len(truth), truth) == 0.0


def test_a_heading_that_drifts_hardly_changes_the_scale() -> None:
    truth = winding(200)
    odometry = drifting(truth, 0.01, 0.5)
    assert np.linalg.norm(odometry[-1].translation - truth[-1].translation) > 5  # absolute positions are useless
    scale = scale_from_odometry(structure_of(truth), odometry, [0] * len(truth))
    assert scale.factor == pytest.approx(FACTOR * 1.01, rel=0.01)


def test_wrong_distances_do_not_matter_while_they_are_few() -> None:
    truth = winding(120)
    rng = np.random.default_rng(0)
    odometry = [perturbed(pose, 0.02, 0.2, rng) for pose in truth]
    odometry = [Pose(pose.rotation, pose.translation + (30.0 if index > 40 else 0.0))  # it jumps once,
                for index, pose in enumerate(odometry)]  # fmt: skip
    for index in range(80, 90):  # and stands still for a while, as wheels do that slip
        odometry[index] = odometry[79]
    scale = scale_from_odometry(structure_of(truth), odometry, [0] * len(truth))
    assert scale.factor == pytest.approx(FACTOR, rel=0.01)


def test_frames_of_several_recordings_are_not_mixed() -> None:
    truth = winding(40)
    other = [TURNED @ pose for pose in truth]
    structure = [*structure_of(truth), *structure_of(truth)]
    scale = scale_from_odometry(structure, [*truth, *other], [0] * 40 + [1] * 40)
    assert scale.factor == pytest.approx(FACTOR)


def test_gaps_are_passed_over() -> None:
    truth = winding()
    structure = structure_of(truth)
    odometry: list[Pose | None] = list(truth)
    structure[5] = odometry[9] = None
    scale = scale_from_odometry(structure, odometry, [0] * len(truth))
    assert scale.factor == pytest.approx(FACTOR)
    moved = align(structure, odometry, scale)
    assert structure[20] is not None
    assert max(pose_error(moved.move(structure[20]), truth[20])) < 1e-6


def test_a_straight_drive_is_levelled_and_one_wrong_orientation_forgiven() -> None:
    truth = [Pose(np.eye(3), np.array([0.3 * index, 0.0, 0.0])) for index in range(30)]
    odometry = [*truth[:10], Pose(TURNED.rotation, truth[10].translation), *truth[11:]]
    structure = structure_of(truth)
    moved = align(structure, odometry, Scale(FACTOR, 0.0, 1))
    assert structure[0] is not None
    assert max(pose_error(moved.move(structure[0]), truth[0])) < 1e-6


def test_useless_odometry_is_refused() -> None:
    truth = winding()
    still = [Pose()] * len(truth)
    with pytest.raises(DatasetError, match="moved in 0 windows"):
        scale_from_odometry(structure_of(truth), still, [0] * len(truth))
    rng = np.random.default_rng(0)
    elsewhere = [Pose(np.eye(3), rng.normal(0, 5, 3)) for _ in truth]
    with pytest.raises(DatasetError, match="disagree about distances"):
        scale_from_odometry(structure_of(truth), elsewhere, [0] * len(truth))


def test_known_distance() -> None:
    assert known_distance("") is None
    assert known_distance(" 3 1/40 2.5 ") == KnownDistance((0, 3), (1, 40), 2.5)
    assert named_images("3 1/40 2.5", 1) == {40}
    assert named_images("", 0) == set()
    for text in ("3 4", "3 4 0", "3 3 1.0", "a b 1", "3 4 -1", "3 4 nan", "3 4 1 1", "0/3 3 1"):
        with pytest.raises(ConfigError, match="A B METRES"):
            known_distance(text)
    known = KnownDistance((0, 3), (0, 4), 2.5)
    far = Pose(translation=np.array([0.5, 0.0, 0.0]))
    assert scale_from_distance(Pose(), far, known).factor == pytest.approx(5.0)
    with pytest.raises(DatasetError, match="0/4 could not be put together"):
        scale_from_distance(Pose(), None, known)
    with pytest.raises(DatasetError, match="same place"):
        scale_from_distance(far, far, known)


def test_something_must_tell_the_scale() -> None:
    require_scale_source(MapBuildConfig(), "x", told=True)
    require_scale_source(MapBuildConfig(scale_free=True), "x", told=False)
    require_scale_source(MapBuildConfig(known_distance="0 1 2"), "x", told=False)
    with pytest.raises(ConfigError, match=r"x: no poses, .* --scale-free"):
        require_scale_source(MapBuildConfig(), "x", told=False)
