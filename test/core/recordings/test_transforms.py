from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.transforms import TimedPoses, TransformBuffer
from hfnet_core.recordings.tum import parse_pose, read_tum

SECOND = 10**9


def turned(degrees: float, x: float = 0.0) -> Pose:
    return Pose(Rotation.from_euler("z", degrees, degrees=True).as_matrix(), np.array([x, 0.0, 0.0]))


def test_interpolates_linearly_and_by_slerp() -> None:
    timed = TimedPoses.from_samples([(SECOND, turned(0)), (2 * SECOND, turned(90, x=4))])
    found = timed.at(SECOND + SECOND // 4, 1.0)
    assert found is not None
    assert pose_error(found, turned(22.5, x=1)) == pytest.approx((0, 0), abs=1e-9)


def test_turns_the_short_way() -> None:
    timed = TimedPoses.from_samples([(0, turned(170)), (SECOND, turned(-170))])
    found = timed.at(SECOND // 2, 2.0)
    assert found is not None
    assert pose_error(found, turned(180))[1] == pytest.approx(0, abs=1e-5)


def test_never_extrapolates_nor_bridges_gaps() -> None:
    timed = TimedPoses.from_samples([(SECOND, turned(0)), (2 * SECOND, turned(1)), (10 * SECOND, turned(2))])
    assert timed.at(SECOND - 1, 100.0) is None
    assert timed.at(10 * SECOND + 1, 100.0) is None
    assert timed.at(5 * SECOND, 1.0) is None
    assert timed.at(5 * SECOND, 9.0) is not None
    exact = timed.at(10 * SECOND, 0.0)
    assert exact is not None
    assert TimedPoses.from_samples([]).at(0, 1.0) is None


def test_the_last_of_equal_stamps_counts_and_order_does_not() -> None:
    timed = TimedPoses.from_samples([(2, turned(0, 2)), (1, turned(0, 1)), (2, turned(0, 3))])
    assert list(timed.stamps_ns) == [1, 2]
    assert timed.pose(1).translation[0] == 3


def make_tree() -> TransformBuffer:
    tree = TransformBuffer.recorded(max_gap_s=5.0)
    for second, x in ((0, 0.0), (1, 1.0), (2, 2.0)):
        tree.add("odom", "base_link", turned(0, x), second * SECOND)
    tree.add("map", "odom", turned(90), 0)
    tree.add("map", "odom", turned(90), 2 * SECOND)
    tree.add("base_link", "mast", turned(0, 0.5), 0, static=True)
    tree.add("/mast", "/camera", turned(-90), 0, static=True)
    return tree


def test_chains_across_static_and_moving_links() -> None:
    found = make_tree().lookup("map", "camera", SECOND // 2)
    assert np.allclose(found.translation, (0, 1.0, 0), atol=1e-9)
    assert np.allclose(found.rotation, np.eye(3), atol=1e-9)


def test_chains_go_down_as_well_as_up() -> None:
    tree = make_tree()
    up, down = tree.lookup("map", "camera", SECOND), tree.lookup("camera", "map", SECOND)
    assert np.allclose((up @ down).matrix(), np.eye(4))
    side = tree.lookup("camera", "mast", 0)
    assert np.allclose(side.rotation, turned(90).rotation)


def test_missing_links_are_none_and_static_chains_known() -> None:
    tree = make_tree()
    assert tree.at("map", "gripper", 0) is None
    assert tree.at("map", "camera", 3 * SECOND) is None
    assert tree.is_static("base_link", "camera")
    assert not tree.is_static("map", "camera")
    assert tree.frames == ("base_link", "camera", "map", "mast", "odom")


def test_a_loop_elsewhere_ends() -> None:
    tree = TransformBuffer.recorded(max_gap_s=1.0)
    tree.add("a", "b", Pose(), 0, static=True)
    tree.add("b", "a", Pose(), 0, static=True)
    assert tree.at("c", "a", 0) is None
    tree.add("c", "d", turned(0, 1.0), 0, static=True)
    assert tree.lookup("c", "d", 0).translation[0] == 1.0


def test_tum_files(tmp_path: Path) -> None:
    path = tmp_path / "poses.txt"
    path.write_text("# stamp x y z qx qy qz qw\n1553180224.371164322 1 2 3 0 0 0 1\n\n2 0 0 0 0 0 0 2 frame7\n")
    first, second = read_tum(path)
    assert first.stamp_ns == 1553180224371164322
    assert np.allclose(first.pose.translation, (1, 2, 3))
    assert second.name == "frame7"
    assert np.allclose(second.pose.rotation, np.eye(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "line 1: has 3 columns"),
        ("\n1 2 3 4 5 6 7 x\n", "line 2"),
        ("1 0 0 0 0 0 0 0\n", "zero quaternion"),
        ("1 nan 0 0 0 0 0 1\n", "not finite"),
        ("# nothing\n", "contains no poses"),
    ],
)
def test_bad_tum_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "poses.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        read_tum(path)
    assert str(path) in str(caught.value)


def test_missing_tum_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_tum(tmp_path / "none.txt")


def test_poses_from_the_command_line() -> None:
    assert np.allclose(parse_pose("1 2 3 0 0 0 1").translation, (1, 2, 3))
    for text in ("1 2 3", "a b c d e f g", "0 0 0 0 0 0 0"):
        with pytest.raises(DatasetError, match="x y z qx qy qz qw"):
            parse_pose(text)
