"""Transforms and poses as real systems record them: what does not lie between map and camera does not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import CAMERA, START, STEP, along_x, odometry, transform, write_bag

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.recordings.bag_writer import BagWriter, WriterTopics, open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions, PoseOptions

FRAMES = 6
NOWHERE = Pose(np.full((3, 3), np.nan), np.full(3, np.nan))
Extra = Callable[[BagWriter], None]


def tf(writer: BagWriter, topic: str, index: int, parent: str, child: str, pose: Pose, **quat: float) -> None:
    """One transform on a topic at the time of an image."""
    item = transform(writer, parent, child, START + index * STEP, pose)
    if quat:
        item.transform.rotation = writer.type("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, **quat)
    writer.write(topic, "tf2_msgs/msg/TFMessage", START + index * STEP, transforms=[item])


def read(path: Path, extra: Extra, *, poses: bool = True, options: BagOptions | None = None) -> list[Pose | None]:
    """The poses of the images."""
    with Bag(write_bag(path, frames=FRAMES, poses=poses, extra=extra), options) as bag:
        return [frame.map_from_camera for frame in bag.frames()]


def assert_along_x(poses: list[Pose | None], missing: tuple[int, ...] = (), offset: float = 0.0) -> None:
    assert len(poses) == FRAMES
    for index, pose in enumerate(poses):
        assert (pose is None) == (index in missing)
        if pose is not None:
            expected = along_x(index) @ Pose(translation=np.array([offset, 0.0, 0.0]))
            assert pose_error(pose, expected) == pytest.approx((0, 0), abs=1e-6)


def moving(writer: BagWriter, topic: str = "/tf", child: str = "camera", offset: float = 0.0) -> None:
    """The camera's way in the map."""
    for index in range(FRAMES):
        pose = along_x(index) @ Pose(translation=np.array([offset, 0.0, 0.0]))
        tf(writer, topic, index, "map", child, pose)


def tag_with_two_parents(writer: BagWriter) -> None:
    for index in range(FRAMES):
        tf(writer, "/tf", index, f"camera_{index % 2}", "tag", Pose())


def base_with_two_parents(writer: BagWriter) -> None:
    for index in range(FRAMES):
        tf(writer, "/tf", index, "odom", "base_link", Pose())
        tf(writer, "/tf", index, "base_footprint", "base_link", Pose())


def nan_of_an_imu(writer: BagWriter) -> None:
    tf(writer, "/tf_static", 0, "femto_link", "femto_gyro", Pose(translation=np.full(3, np.nan)))


def zero_quaternion_of_a_wheel(writer: BagWriter) -> None:
    tf(writer, "/tf", 0, "base_link", "wheel", Pose(), w=0.0)


def loop_elsewhere(writer: BagWriter) -> None:
    for one, other in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "a"), ("", "d")):
        tf(writer, "/tf", 0, one, other, Pose())


TROUBLE = (tag_with_two_parents, base_with_two_parents, nan_of_an_imu, zero_quaternion_of_a_wheel, loop_elsewhere)


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda trouble: trouble.__name__)
@pytest.mark.parametrize("by_tf", [False, True])
def test_trouble_elsewhere_in_the_tree_does_not_matter(
    tmp_path: Path, trouble: Extra, by_tf: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def extra(writer: BagWriter) -> None:
        if by_tf:
            moving(writer)
        trouble(writer)

    options = BagOptions(poses=PoseOptions(pose_topic="/tf"))
    assert_along_x(read(tmp_path / "a", extra, poses=not by_tf, options=options if by_tf else None))
    if by_tf and trouble in (nan_of_an_imu, zero_quaternion_of_a_wheel):
        frame = "femto_gyro" if trouble is nan_of_an_imu else "wheel"
        assert f"1 transforms of '{frame}' left out" in caplog.text


def test_two_ways_from_map_to_camera_are_refused_with_both_named(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer)
        for index in range(FRAMES):
            tf(writer, "/tf", index, "map", "odom", Pose())
            tf(writer, "/tf", index, "odom", "camera", along_x(index))

    with pytest.raises(DatasetError, match=r"in two ways: camera -> map; camera -> odom -> map.*--pose-topic"):
        read(tmp_path / "a", extra, poses=False)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_null_pose_is_a_gap(tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            odometry(writer, "/rtabmap/odom", START + index * STEP, "odom", "camera", along_x(index))
            if index == 3:  # a second one, lost, between two images
                lost(writer, START + index * STEP + STEP // 2, value)

    with Bag(write_bag(tmp_path / "a", frames=FRAMES, poses=False, extra=extra)) as bag:
        found = [frame.map_from_camera for frame in bag.frames()]
        assert bag._poses is not None
        assert bag._poses.at(START + 3 * STEP + STEP // 4) is None
        assert "where a pose is missing" in bag.why_no_pose(START + 3 * STEP + STEP // 4)
        assert bag._poses.at(START + 2 * STEP + STEP // 4) is not None
    assert_along_x(found)
    assert "/rtabmap/odom: 1 of 7 poses left out" in caplog.text


def lost(writer: BagWriter, stamp: int, value: float) -> None:
    """What odometry sends that does not know where it is."""
    kind = writer.type
    nothing = kind("geometry_msgs/msg/Pose")(
        position=kind("geometry_msgs/msg/Point")(x=value, y=value, z=value),
        orientation=kind("geometry_msgs/msg/Quaternion")(x=value, y=value, z=value, w=value),
    )
    zero = kind("geometry_msgs/msg/Vector3")(x=0.0, y=0.0, z=0.0)
    twist = kind("geometry_msgs/msg/TwistWithCovariance")(
        twist=kind("geometry_msgs/msg/Twist")(linear=zero, angular=zero), covariance=np.zeros(36)
    )
    writer.write(
        "/rtabmap/odom", "nav_msgs/msg/Odometry", stamp, header=writer.header(stamp, "odom"), child_frame_id="camera",
        pose=kind("geometry_msgs/msg/PoseWithCovariance")(pose=nothing, covariance=np.zeros(36)), twist=twist,
    )  # fmt: skip


def test_nothing_but_null_poses_is_refused(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            lost_only(writer, index)

    with pytest.raises(DatasetError, match=r"none of the poses of /slam/pose .* can be used: each has a zero quatern"):
        read(tmp_path / "a", extra, poses=False)


def lost_only(writer: BagWriter, index: int) -> None:
    kind, stamp = writer.type, START + index * STEP
    nothing = kind("geometry_msgs/msg/Pose")(
        position=kind("geometry_msgs/msg/Point")(x=0.0, y=0.0, z=0.0),
        orientation=kind("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=0.0),
    )
    header = writer.header(stamp, "map")
    writer.write("/slam/pose", "geometry_msgs/msg/PoseStamped", stamp, header=header, pose=nothing)


def two_robots(writer: BagWriter) -> None:
    moving(writer, "/robot1/tf")
    moving(writer, "/robot2/tf", offset=7.0)


def test_two_trees_stay_two_and_tf_topic_chooses(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"/robot1/tf, /robot2/tf are trees of their own.*--tf-topic"):
        read(tmp_path / "a", two_robots, poses=False)
    for number, offset in ((1, 0.0), (2, 7.0)):
        for given in (
            PoseOptions(tf_topics=(f"/robot{number}/tf",)),
            PoseOptions(tf_topics=(f"/robot{number}/tf_static",)),
            PoseOptions(pose_topic=f"/robot{number}/tf"),
        ):
            with Bag(tmp_path / "a", BagOptions(poses=given)) as bag:
                assert_along_x([frame.map_from_camera for frame in bag.frames()], offset=offset)
                assert f"/robot{number}/tf" in bag.pose_source


def test_the_cameras_namespace_chooses_the_tree(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        two_robots(writer)
        moving(writer, "/camera/tf", offset=3.0)

    assert_along_x(read(tmp_path / "a", extra, poses=False), offset=3.0)


def test_the_tree_that_knows_the_camera_is_its_tree(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer, "/robot1/tf")
        moving(writer, "/robot2/tf", child="other")

    assert_along_x(read(tmp_path / "a", extra, poses=False))


def test_two_trees_are_joined_where_both_are_named(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer, "/tf", child="base")
        tf(writer, "/camera/tf_static", 0, "base", "camera", Pose())

    options = BagOptions(poses=PoseOptions(tf_topics=("/tf", "/camera/tf")))
    assert_along_x(read(tmp_path / "a", extra, poses=False, options=options))
    with Bag(tmp_path / "a") as bag:
        assert not bag.has_poses
    with pytest.raises(DatasetError, match="no transforms on /x; topics of transforms are /camera/tf_static, /tf"):
        Bag(tmp_path / "a", BagOptions(poses=PoseOptions(tf_topics=("/x",))))


def test_a_pose_topic_limits_what_is_read(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        two_robots(writer)
        for index in range(FRAMES):
            odometry(writer, "/odom", START + index * STEP, "map", "camera", along_x(index + 5))

    options = BagOptions(poses=PoseOptions(pose_topic="/odom"))
    assert_along_x(read(tmp_path / "a", extra, options=options), offset=1.0)


def test_a_bag_with_two_odometries_needs_no_choice_where_no_pose_is_wanted(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            for name in ("/wheels", "/visual"):
                odometry(writer, name, START + index * STEP, "odom", "base", along_x(index))

    with pytest.raises(DatasetError, match="several topics hold poses, choose one with --pose-topic"):
        read(tmp_path / "a", extra, poses=False)
    with Bag(tmp_path / "a", BagOptions(poses_wanted=False)) as bag:
        assert [frame.map_from_camera for frame in bag.frames()] == [None] * FRAMES


def why(path: Path, extra: Extra, **options: str) -> str:
    with Bag(write_bag(path, frames=FRAMES, poses=False, extra=extra), BagOptions(**options)) as bag:  # type: ignore[arg-type]
        assert not bag.has_poses
        with pytest.raises(DatasetError) as caught:
            bag.require_poses()
    assert bag.no_poses in str(caught.value)
    assert "\n" not in bag.no_poses
    return bag.no_poses


def test_a_frame_that_the_tree_does_not_know_is_named_with_the_option(tmp_path: Path) -> None:
    said = why(tmp_path / "a", lambda writer: moving(writer, child="left_camera_optical_frame"))
    for part in ("'camera'", "/tf", "/camera/image_raw/compressed", "left_camera_optical_frame", "--camera-frame"):
        assert part in said
    options = BagOptions(camera_frame="left_camera_optical_frame")
    with Bag(tmp_path / "a", options) as bag:
        assert_along_x([frame.map_from_camera for frame in bag.frames()])


def test_images_that_name_no_frame_want_the_option(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a", "mcap", WriterTopics(camera_frame="")) as writer:
        moving(writer)
        for index in range(FRAMES):
            writer.image(START + index * STEP, np.full((120, 160), 90, np.uint8))
            writer.camera_info(START + index * STEP, CAMERA)
    with Bag(tmp_path / "a") as bag:
        assert "the images of /camera/image_raw name no frame: pass --camera-frame" in bag.no_poses
    with Bag(tmp_path / "a", BagOptions(camera_frame="camera")) as bag:
        assert_along_x([frame.map_from_camera for frame in bag.frames()])


def test_a_near_name_is_proposed(tmp_path: Path) -> None:
    assert "--camera-frame camera1" in why(tmp_path / "a", lambda writer: moving(writer, child="camera1"))


def test_a_second_part_without_the_static_transforms_is_named(tmp_path: Path) -> None:
    said = why(tmp_path / "a", lambda writer: moving(writer, child="base"))
    for part in ("there is no /tf_static", "earlier part of the recording", "--base-from-camera", "--pose-frame"):
        assert part in said
    mount = PoseOptions(base_from_camera=Pose(), pose_frame="base")
    with Bag(tmp_path / "a", BagOptions(poses=mount)) as bag:
        assert_along_x([frame.map_from_camera for frame in bag.frames()])


def test_a_mount_that_was_sent_once_is_named(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer, child="base")
        tf(writer, "/tf", 0, "base", "camera", Pose())

    with Bag(write_bag(tmp_path / "a", frames=FRAMES, poses=False, extra=extra)) as bag:
        assert_along_x([frame.map_from_camera for frame in bag.frames()], missing=(1, 2, 3, 4, 5))
        assert "from 'camera' to 'base' is not known at" in bag.why_no_pose(START + 3 * STEP)


def test_a_mount_that_is_sent_slowly_and_never_changes_holds_between(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer, child="base")
        for index in (0, 4):
            tf(writer, "/tf", index, "base", "camera", Pose())

    assert_along_x(read(tmp_path / "a", extra, poses=False))


def test_leading_slashes_of_ros1_do_not_matter(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            tf(writer, "/tf", index, "/map", "/camera", along_x(index))

    assert_along_x(read(tmp_path / "a", extra, poses=False))


def test_a_calibration_beside_the_images_counts_whatever_frame_it_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = BagOptions(camera_frame="robot/camera")
    with Bag(write_bag(tmp_path / "a"), options) as bag:
        assert bag.camera_frame == "robot/camera"
        assert not bag.camera_unknown
    assert "/camera/camera_info is for frame 'camera', images are in 'robot/camera'" in caplog.text


@pytest.mark.parametrize("options", [None, BagOptions(poses=PoseOptions(tf_topics=("/robot2/tf",)))])
def test_the_only_tree_of_another_namespace_is_taken_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: BagOptions | None
) -> None:
    poses = read(tmp_path / "bag", lambda writer: moving(writer, "/robot2/tf"), poses=False, options=options)
    assert_along_x(poses)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (options is None)
    assert all(
        "/robot2/tf is taken for the tree of /camera" in line and "--tf-topic /robot2/tf" in line for line in said
    )


def test_goals_and_guesses_are_no_poses_of_the_robot(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        moving(writer)
        for topic in ("/goal_pose", "/initialpose", "/robot/clicked_pose"):
            for index in (1, 3):
                stamp_ns = START + index * STEP
                writer.write(topic, "geometry_msgs/msg/PoseStamped", stamp_ns, header=writer.header(stamp_ns, "map"),
                             pose=writer._pose(along_x(index + 50)))  # fmt: skip

    assert_along_x(read(tmp_path / "a", extra, poses=False))


def test_odometry_that_has_run_away_is_a_gap(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            far = Pose(translation=np.array([1e12, 0.0, 0.0])) if index == FRAMES - 1 else along_x(index)
            odometry(writer, "/odom", START + index * STEP, "odom", "camera", far)

    assert_along_x(read(tmp_path / "a", extra, poses=False), missing=(FRAMES - 1,))


def test_a_robot_that_stands_still_is_not_said_to_be_unconnected(tmp_path: Path) -> None:
    def extra(writer: BagWriter) -> None:
        for index in range(FRAMES):
            tf(writer, "/tf", index, "map", "camera", Pose())

    assert "'camera' never moves in 'map'" in why(tmp_path / "a", extra)
