from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.transforms import TransformBuffer, TransformError

S = 10**9


def at(x: float, yaw_deg: float = 0.0) -> Pose:
    return Pose(Rotation.from_euler("z", yaw_deg, degrees=True).as_matrix(), [x, 0.0, 0.0])


def assert_same(found: Pose, expected: Pose) -> None:
    metres, degrees = pose_error(found, expected)
    assert metres < 1e-9
    assert degrees < 1e-5


def test_chain_through_a_common_ancestor() -> None:
    buffer = TransformBuffer.live()
    buffer.add("base", "camera", at(1.0, 90.0), 0, static=True)
    buffer.add("odom", "base", at(5.0, 30.0), S)
    buffer.add("odom", "other", at(-2.0), S)
    assert_same(buffer.lookup("odom", "camera", S), at(5.0, 30.0) @ at(1.0, 90.0))
    assert_same(buffer.lookup("camera", "odom", S), (at(5.0, 30.0) @ at(1.0, 90.0)).inverse())
    assert_same(buffer.lookup("other", "camera", S), at(-2.0).inverse() @ at(5.0, 30.0) @ at(1.0, 90.0))
    assert_same(buffer.lookup("camera", "camera", 77 * S), Pose())
    assert buffer.parent_of("camera") == "base"
    assert buffer.parent_of("odom") is None


def test_interpolates_and_never_extrapolates() -> None:
    buffer = TransformBuffer.live()
    for second, x in ((3, 3.0), (1, 1.0), (2, 2.0)):  # out of order
        buffer.add("odom", "base", at(x, 20.0 * x), second * S)
    assert_same(buffer.lookup("odom", "base", S + S // 4), at(1.25, 25.0))
    assert_same(buffer.lookup("odom", "base", 3 * S), at(3.0, 60.0))
    for stamp in (S - 1, 3 * S + 1):
        with pytest.raises(TransformError, match="not known at"):
            buffer.lookup("odom", "base", stamp)


def test_static_holds_at_all_times_and_survives_clear() -> None:
    buffer = TransformBuffer.live()
    buffer.add("base", "camera", at(1.0), 5 * S, static=True)
    buffer.add("odom", "base", at(1.0), 5 * S)
    assert_same(buffer.lookup("base", "camera", 0), at(1.0))
    buffer.clear()
    assert_same(buffer.lookup("base", "camera", 99 * S), at(1.0))
    with pytest.raises(TransformError):
        buffer.lookup("odom", "base", 5 * S)


def test_forgets_what_is_old_and_recovers_from_a_stamp_of_the_future() -> None:
    buffer = TransformBuffer.live(keep_s=2.0)
    for second in range(6):
        buffer.add("odom", "base", at(float(second)), second * S)
    with pytest.raises(TransformError):
        buffer.lookup("odom", "base", 3 * S - 1)
    assert_same(buffer.lookup("odom", "base", 3 * S), at(3.0))
    buffer.add("odom", "base", at(0.0), 1000 * S)
    for second in (6, 7):
        buffer.add("odom", "base", at(float(second)), second * S)
    assert_same(buffer.lookup("odom", "base", 6 * S + S // 2), at(6.5))


def test_another_parent_replaces_the_first() -> None:
    buffer = TransformBuffer.live()
    buffer.add("a", "c", at(1.0), S)
    buffer.add("b", "c", at(2.0), S)
    assert_same(buffer.lookup("b", "c", S), at(2.0))
    with pytest.raises(TransformError):
        buffer.lookup("a", "c", S)


def test_refuses_what_cannot_be() -> None:
    buffer = TransformBuffer.live()
    nowhere = Pose(translation=np.full(3, np.nan))
    for parent, child, pose in (("a", "a", Pose()), ("", "b", Pose()), ("a", "b", nowhere)):
        with pytest.raises(TransformError):
            buffer.add(parent, child, pose, S)
    buffer.add("a", "b", Pose(), S)
    buffer.add("b", "a", Pose(), S)
    with pytest.raises(TransformError, match="two ways"):
        buffer.lookup("a", "b", S)
    with pytest.raises(TransformError, match="no transform connects 'x' to 'a'"):
        TransformBuffer.live().lookup("a", "x", S)


def test_a_flood_of_frames_and_poses_costs_neither_memory_nor_time() -> None:
    buffer = TransformBuffer.live()
    buffer.add("base", "camera", at(5.0), 0, static=True)
    for index in range(9_999):
        if index % 1000 == 0:  # who is there goes on, and who comes new is heard
            buffer.add("odom", "base", at(1.0), (index // 1000 + 1) * S)
        buffer.add(f"frame{index + 1}", f"frame{index}", at(1.0), S)
    assert len(buffer.frames) <= 2_002  # one that is no child, and one that is forgotten as a child
    assert_same(buffer.lookup("odom", "camera", 85 * S // 10), at(6.0))
    began = time.process_time()
    with pytest.raises(TransformError, match="no transform connects") as refusal:
        buffer.lookup("frame9999", "frame8000", S)
    assert time.process_time() - began < 5.0  # a chain as long as that took minutes
    assert len(str(refusal.value)) < 1000
    for child in ("base", "frame9990", "frame9991"):
        for index in range(1_000):
            buffer.add("odom", child, at(3.0), 11 * S + index)
    assert len(buffer._edges["base"]["odom"].stamps_ns) == 20
    alone = TransformBuffer.live()
    for index in range(2_000):
        alone.add("odom", "base", at(3.0), S + index)
    assert len(alone._edges["base"]["odom"].stamps_ns) == 2_000


def test_static_transforms_are_told_once_and_stay_in_a_flood() -> None:
    buffer = TransformBuffer.live()
    for index in range(1_000):
        buffer.add("base", f"part{index}", at(1.0), 0, static=True)
    with pytest.raises(TransformError, match="somebody floods the tree"):
        buffer.add("base", "one more", at(1.0), 0, static=True)
    for index in range(2_000):
        buffer.add("odom", f"moving{index}", at(1.0), S)
    buffer.add("odom", "base", at(1.0), S)
    buffer.add("base", "part0", at(2.0), 0, static=True)  # known ones may be told anew
    assert_same(buffer.lookup("odom", "part0", S), at(3.0))
    assert_same(buffer.lookup("odom", "part999", S), at(2.0))


def test_a_name_longer_than_any_frames_is_not_kept() -> None:
    buffer = TransformBuffer.live()
    with pytest.raises(TransformError, match="more than 255 characters") as refusal:
        buffer.add("odom", "x" * 10_000, at(1.0), S)
    assert len(str(refusal.value)) < 200
    assert buffer.frames == ()


def test_a_recording_keeps_all_parents_and_what_hangs_beside_a_chain_does_not_matter() -> None:
    tree = TransformBuffer.recorded(max_gap_s=5.0)
    for second in range(3):
        tree.add("odom", "base", at(float(second)), second * S)
        tree.add("footprint", "base", at(9.0), second * S)  # nobody places the footprint
        tree.add("camera_1" if second % 2 else "camera_2", "tag", at(1.0), second * S)
    assert_same(tree.lookup("odom", "base", S // 2), at(0.5))
    tree.add("odom", "footprint", at(0.0), 0)
    with pytest.raises(TransformError, match="in two ways: base -> footprint -> odom; base -> odom"):
        tree.lookup("odom", "base", 0)
    assert tree.at("odom", "base", 0) is None
    assert_same(tree.lookup("odom", "footprint", 0), at(0.0))


def test_two_parents_above_both_frames_do_not_matter() -> None:
    tree = TransformBuffer.recorded(max_gap_s=5.0)
    tree.add("base", "camera", at(1.0), 0, static=True)
    for parent in ("odom", "footprint"):
        tree.add(parent, "base", at(2.0), 0)
        tree.add("map", parent, at(2.0), 0)
    assert_same(tree.lookup("base", "camera", 0), at(1.0))
    assert_same(tree.lookup("camera", "base", 0), at(-1.0))
    tree.add("base", "lidar", at(3.0), 0, static=True)
    assert_same(tree.lookup("lidar", "camera", 0), at(-2.0))
    with pytest.raises(TransformError, match="in two ways"):
        tree.connects("map", "camera")


def test_a_recorded_transform_that_never_changes_holds_always() -> None:
    tree = TransformBuffer.recorded(max_gap_s=0.25)
    for second in (1, 2):  # as robot_state_publisher sends fixed joints where it may not latch
        tree.add("base", "camera", at(1.0), second * S)
        tree.add("odom", "base", at(float(second)), second * S)
    assert tree.is_static("base", "camera")
    assert_same(tree.lookup("base", "camera", 9 * S), at(1.0))
    assert not tree.is_static("odom", "camera")
    with pytest.raises(TransformError, match=r"from 'base' to 'odom' has a gap of 1\.000 s at 1\.500 s"):
        tree.lookup("odom", "camera", 3 * S // 2)
    tree.add("base", "camera", at(1.1), 3 * S)
    assert not tree.is_static("base", "camera")
    assert_same(tree.lookup("base", "camera", 3 * S // 2), at(1.0))


def test_a_recorded_static_transform_outweighs_a_dynamic_one() -> None:
    tree = TransformBuffer.recorded(max_gap_s=1.0)
    tree.add("base", "camera", at(1.0), 0, static=True)
    tree.add("base", "camera", at(5.0), S)
    assert_same(tree.lookup("base", "camera", S), at(1.0))
    tree.add("base", "camera", at(2.0), S, static=True)
    assert_same(tree.lookup("base", "camera", 0), at(2.0))
