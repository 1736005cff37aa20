"""Maps from several cameras on one base: a robot with two cameras slides along the wall."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bags import odometry, transform
from helpers import tiny_model
from wall import CAMERA, RIG_SHIFTS, base_from_camera, map_from_base, view, wall_image

from hfnet_core.cli.main import main
from hfnet_core.cli.option_sets import BagArguments
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.solving.odometry import Odometry
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.bag_writer import BagWriter, WriterTopics, open_writer
from hfnet_core.recordings.bags import open_cameras
from hfnet_core.recordings.options import BagOptions, PoseOptions, options_per_camera

NAMES = ("left", "right")
TOPICS = [f"/{name}/image" for name in NAMES]
WAY = (16, 48, 80, 112)  # shifts of the base
START, STEP = 1_700_000_000 * 10**9, 10**8


def of(name: str) -> WriterTopics:
    return WriterTopics(f"/{name}/image", f"/{name}/image/compressed", f"/{name}/camera_info", camera_frame=name)


def rig_bag(path: Path, pose: Callable[[BagWriter, int, int], None], mounts: bool = True) -> Path:
    """Both cameras' images, and `pose(writer, stamp, shift)` of the base."""
    wall = wall_image()
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(WAY):
            stamp = START + index * STEP
            for name, own in zip(NAMES, RIG_SHIFTS, strict=True):
                writer.topics = of(name)
                writer.camera_info(stamp, CAMERA)
                writer.image(stamp, view(shift + own, wall))
            pose(writer, stamp, shift)
        if mounts:
            placed = [transform(writer, "base", name, START, base_from_camera(own))
                      for name, own in zip(NAMES, RIG_SHIFTS, strict=True)]  # fmt: skip
            writer.write("/tf_static", "tf2_msgs/msg/TFMessage", START, transforms=placed)
    return path


def odometry_of_base(writer: BagWriter, stamp: int, shift: int, frame: str = "map", scale: float = 1.0) -> None:
    pose = map_from_base(shift)
    odometry(writer, "/odom", stamp, frame, "base", Pose(pose.rotation, scale * pose.translation))


def pose_of_base(writer: BagWriter, stamp: int, shift: int) -> None:
    writer.pose(stamp, map_from_base(shift))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def test_keyframes_of_all_cameras_are_in_one_map(tmp_path: Path, model: Path) -> None:
    bag = rig_bag(tmp_path / "drive", odometry_of_base)
    backend = open_backend(model, threads=1)
    config = MapBuildConfig(refine_poses=False, keyframe_distance_m=0.05)
    built = build_map([bag], Extractor(backend, ExtractorConfig(max_keypoints=300)), config,
                      options_per_camera(BagOptions(), image_topic=TOPICS))  # fmt: skip
    backend.close()
    expected = [map_from_base(shift) @ base_from_camera(own) for own in RIG_SHIFTS for shift in WAY]
    assert built.keyframes == len(expected)
    for keyframe, pose in enumerate(expected):
        metres, degrees = pose_error(built.map_from_camera(keyframe), pose)
        assert metres < 1e-5
        assert degrees < 1e-3
    assert [recording["image_topic"] for recording in built.provenance["recordings"]] == TOPICS
    first_of_right = len(WAY)
    seen_by_both = [
        landmark for landmark in range(built.landmarks)
        if len({int(k) >= first_of_right for k in built.observation_keyframes[
            built.landmark_offsets[landmark] : built.landmark_offsets[landmark + 1]]}) == 2
    ]  # fmt: skip
    assert len(seen_by_both) > 50  # the cameras are matched with each other too


def camchain(path: Path) -> Path:
    """Kalibr's file of both cameras, which says where the right one sits."""
    fx, fy, cx, cy = CAMERA.params
    right_from_left = base_from_camera(RIG_SHIFTS[1]).inverse() @ base_from_camera(RIG_SHIFTS[0])
    common = {"camera_model": "pinhole", "distortion_model": "none", "distortion_coeffs": [],
              "intrinsics": [fx, fy, cx, cy], "resolution": [CAMERA.width, CAMERA.height]}  # fmt: skip
    left = {**common, "rostopic": TOPICS[0]}
    right = {**common, "rostopic": TOPICS[1], "T_cn_cnm1": right_from_left.matrix().tolist()}
    path.write_text(json.dumps({"cam0": left, "cam1": right}))
    return path


def test_a_camchain_says_where_the_cameras_of_a_rig_sit(tmp_path: Path, model: Path) -> None:
    def pose_of_left(writer: BagWriter, stamp: int, shift: int) -> None:
        writer.pose(stamp, map_from_base(shift) @ base_from_camera(RIG_SHIFTS[0]))

    bag = rig_bag(tmp_path / "drive", pose_of_left, mounts=False)
    chain = camchain(tmp_path / "camchain.yaml")
    arguments = BagArguments(image_topic=TOPICS, calibration=[chain], pose_frame="left")
    backend = open_backend(model, threads=1)
    built = build_map([bag], Extractor(backend, ExtractorConfig(max_keypoints=300)),
                      MapBuildConfig(refine_poses=False, keyframe_distance_m=0.05), arguments.options())  # fmt: skip
    backend.close()
    expected = [map_from_base(shift) @ base_from_camera(own) for own in RIG_SHIFTS for shift in WAY]
    assert built.keyframes == len(expected)
    for keyframe, pose in enumerate(expected):
        assert pose_error(built.map_from_camera(keyframe), pose)[0] < 1e-5
    for camera in open_cameras([bag], arguments.options()):
        assert camera.camera_source == "calibration file camchain.yaml"
        mount = camera.mount("left")
        assert mount is not None
        own = base_from_camera(RIG_SHIFTS[NAMES.index(camera.camera_frame)])
        assert pose_error(mount, base_from_camera(RIG_SHIFTS[0]).inverse() @ own)[0] < 1e-9


def test_transforms_of_the_recording_count_more_than_those_of_a_camchain(tmp_path: Path) -> None:
    bag = rig_bag(tmp_path / "drive", pose_of_base)
    chain = json.loads(camchain(tmp_path / "camchain.yaml").read_text())
    chain["cam1"]["T_cn_cnm1"][0][3] = 7.0
    (tmp_path / "camchain.yaml").write_text(json.dumps(chain))
    arguments = BagArguments(image_topic=TOPICS, calibration=[tmp_path / "camchain.yaml"], pose_frame="base")
    right = [bag.mount("left") for bag in open_cameras([bag], arguments.options())][1]
    assert right is not None
    assert pose_error(right, base_from_camera(RIG_SHIFTS[0]).inverse() @ base_from_camera(RIG_SHIFTS[1]))[0] < 1e-9


def test_cameras_of_one_drive_share_its_odometry() -> None:
    """Their keyframes are one chain in time, and the way is that of the robot, not to and fro between its cameras."""
    shifts = [shift for _ in NAMES for shift in WAY]
    poses = [map_from_base(shift) @ base_from_camera(own) for own in RIG_SHIFTS for shift in WAY]
    stamps = [START + index * STEP for index in range(len(WAY))]
    odometry = Odometry(poses, [*stamps, *(stamp + 1000 for stamp in stamps)], [0] * 4 + [1] * 4, [0] * 8, [True] * 8,
                        MapBuildConfig())  # fmt: skip
    links = odometry.links(range(8))
    assert [(link.first, link.second) for link in links] == [(0, 4), (4, 1), (1, 5), (5, 2), (2, 6), (6, 3), (3, 7)]
    for link in links:
        first, second = poses[link.first], poses[link.second]
        assert pose_error(first @ link.first_from_second, second)[0] < 1e-9
    assert links[0].sigma_m < links[1].sigma_m
    way_m = pose_error(map_from_base(shifts[0]), map_from_base(shifts[3]))[0]
    assert odometry.metres_between(0, 7) == pytest.approx(way_m)
    alone = Odometry(poses, odometry.stamps_ns, odometry.recordings, odometry.recordings, odometry.drifting,
                     odometry.config)  # fmt: skip
    assert len(alone.links(range(8))) == 6


def test_cameras_stay_where_they_are_on_a_robot_whose_odometry_drifts(tmp_path: Path, model: Path) -> None:
    def drifting(writer: BagWriter, stamp: int, shift: int) -> None:
        odometry_of_base(writer, stamp, shift, frame="odom", scale=1.03)

    bag = rig_bag(tmp_path / "drive", drifting)
    backend = open_backend(model, threads=1)
    built = build_map([bag], Extractor(backend, ExtractorConfig(max_keypoints=300)),
                      MapBuildConfig(keyframe_distance_m=0.05),
                      options_per_camera(BagOptions(), image_topic=TOPICS))  # fmt: skip
    backend.close()
    assert built.provenance["pose_mode"] == "drifting"
    expected = base_from_camera(RIG_SHIFTS[0]).inverse() @ base_from_camera(RIG_SHIFTS[1])
    for index in range(len(WAY)):
        left, right = (built.map_from_camera(index + first) for first in (0, len(WAY)))
        metres, degrees = pose_error(left.inverse() @ right, expected)
        assert metres < 0.02
        assert degrees < 1.0


def test_the_command_takes_an_image_topic_per_camera(tmp_path: Path, model: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    bag, output = rig_bag(tmp_path / "drive", odometry_of_base, mounts=False), tmp_path / "rig.hfmap"

    def build(*arguments: object) -> int:
        common = ("hfnet", "map", "build", bag, "-o", output, "--model", model, "--no-refine", *arguments)
        monkeypatch.setattr("sys.argv", [str(argument) for argument in common])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    topics = [word for topic in TOPICS for word in ("--image-topic", topic)]
    assert build(*topics, "--base-from-camera", _text(base_from_camera(RIG_SHIFTS[0]))) == 2
    assert "--base-from-camera: 1 given for 2 cameras" in capsys.readouterr().err
    assert not output.exists()
    mounts = [word for own in RIG_SHIFTS for word in ("--base-from-camera", _text(base_from_camera(own)))]
    assert build(*topics, *mounts) == 0
    found = load_map(output)
    assert {round(pose_error(found.map_from_camera(k), map_from_base(WAY[0]) @ base_from_camera(own))[0], 4)
            for k, own in ((0, RIG_SHIFTS[0]), (found.keyframes // 2, RIG_SHIFTS[1]))} == {0.0}  # fmt: skip


def _text(pose: Pose) -> str:
    return " ".join(str(value) for value in (*pose.translation, *pose.quat_xyzw()))


def test_one_pose_cannot_be_that_of_two_cameras(tmp_path: Path) -> None:
    """A PoseStamped says nothing of its frame: taken for the camera's, it would put both cameras at one place."""
    bag = rig_bag(tmp_path / "drive", pose_of_base)
    options = options_per_camera(BagOptions(), image_topic=TOPICS)
    with pytest.raises(DatasetError, match=r"/left/image and of /right/image.*--pose-frame"):
        list(open_cameras([bag], options))
    named = options_per_camera(BagOptions(poses=PoseOptions(pose_frame="base")), image_topic=TOPICS)
    poses = [[frame.map_from_camera for frame in opened.frames()] for opened in open_cameras([bag], named)]
    for own, found in zip(RIG_SHIFTS, poses, strict=True):
        for shift, pose in zip(WAY, found, strict=True):
            assert pose is not None
            assert pose_error(pose, map_from_base(shift) @ base_from_camera(own))[0] < 1e-5


def test_what_is_given_for_some_cameras_only_is_refused() -> None:
    common = BagOptions(poses=PoseOptions(pose_topic="/odom"))
    both = options_per_camera(common, image_topic=TOPICS, calibration=[Path("a.yaml"), Path("b.yaml")])
    assert [(own.image_topic, own.calibration) for own in both] == [(TOPICS[0], Path("a.yaml")),
                                                                     (TOPICS[1], Path("b.yaml"))]  # fmt: skip
    assert all(own.poses.pose_topic == "/odom" for own in both)
    (only,) = options_per_camera(common, calibration=[Path("a.yaml")])
    assert (only.image_topic, only.calibration) == (None, Path("a.yaml"))
    with pytest.raises(ConfigError, match="--camera-info-topic: 1 given for 2 cameras"):
        options_per_camera(common, image_topic=TOPICS, camera_info_topic=["/left/camera_info"])
