"""Depth beside the images of a recording: which topic, which image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.cli.main import main
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.images.registration import DepthMount
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer, write_folder_bag
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.depth.layouts import depth_topics_of, registered_depth, unregistered_depth
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Features

CAMERA = Camera("PINHOLE", 160, 120, (150.0, 150.0, 79.5, 59.5))
STEP_NS = 100_000_000


def png(millimetres: int, width: int = 160, height: int = 120) -> bytes:
    return cv2.imencode(".png", np.full((height, width), millimetres, np.uint16))[1].tobytes()


def recording(path: Path, depths: dict[int, int], topics: WriterTopics | None = None) -> Path:
    """Five images 100 ms apart, and depth images of so many millimetres by their stamps."""
    with open_writer(path, "mcap", topics) as writer:
        for index in range(5):
            writer.image((index + 1) * STEP_NS, textured_image(seed=index))
            writer.camera_info((index + 1) * STEP_NS, CAMERA)
        for stamp_ns, millimetres in depths.items():
            writer.depth(stamp_ns, png(millimetres))
    return path


def told(path: Path, options: BagOptions | None = None) -> list[float | None]:
    """The depth of each image."""
    with Bag(path, options) as bag, recorded_depth(bag) as depth:
        found = [depth.at(frame.stamp_ns) for frame in bag.frames()]
    return [None if one is None else round(float(one.metres[5, 5]), 3) for one in found]


def test_the_depth_nearest_in_time_counts_and_one_of_another_time_does_not(tmp_path: Path) -> None:
    depths = {
        STEP_NS: 1000,
        2 * STEP_NS + 15_000_000: 2000,
        2 * STEP_NS - 5_000_000: 1500,
        4 * STEP_NS + 30_000_000: 4000,
    }
    assert told(recording(tmp_path / "bag", depths)) == [1.0, 1.5, None, None, None]


def test_depth_is_asked_for_again_from_the_beginning(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000, 3 * STEP_NS: 3000})
    with Bag(path) as bag, recorded_depth(bag) as depth:
        assert depth.at(3 * STEP_NS) is not None
        first = depth.at(STEP_NS)
    assert first is not None
    assert first.metres[0, 0] == pytest.approx(1.0)


def test_depth_can_be_named_or_left_out(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000}, WriterTopics(depth="/elsewhere/depth"))
    assert told(path) == [None] * 5
    assert told(path, BagOptions(depth_topic="/elsewhere/depth")) == [1.0, None, None, None, None]
    usual = recording(tmp_path / "usual", {STEP_NS: 1000})
    assert told(usual, BagOptions(depth_topic="none")) == [None] * 5


def test_a_topic_without_depth_is_refused_when_it_was_asked_for(tmp_path: Path) -> None:
    path = recording(tmp_path / "bag", {STEP_NS: 1000})
    with pytest.raises(DatasetError, match="holds no depth images"):
        told(path, BagOptions(depth_topic="/camera/camera_info"))
    with pytest.raises(DatasetError, match=r"/camera/image_raw.*not read; use 16UC1"):
        told(path, BagOptions(depth_topic="/camera/image_raw"))


def test_a_damaged_depth_image_is_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index in range(3):
            writer.image((index + 1) * STEP_NS, textured_image(seed=index))
            writer.camera_info((index + 1) * STEP_NS, CAMERA)
            writer.depth((index + 1) * STEP_NS, png(1000) if index != 1 else b"no picture")
    assert told(tmp_path / "bag") == [1.0, None, 1.0]
    assert "no image of 16 bits" in caplog.text


@pytest.mark.parametrize(
    ("image", "depth"),
    [
        ("/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"),  # RealSense, ROS 1
        ("/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw"),  # ROS 2
        ("/camera/infra1/image_rect_raw", "/camera/depth/image_rect_raw"),
        ("/oak/rgb/image_raw", "/oak/stereo/image_raw"),
        ("/stereo_inertial_publisher/color/image", "/stereo_inertial_publisher/stereo/depth"),
        ("/zed/zed_node/rgb/image_rect_color", "/zed/zed_node/depth/depth_registered"),
        ("/zed/zed_node/rgb/color/rect/image", "/zed/zed_node/depth/depth_registered"),
        ("/camera/rgb/image_rect_color", "/camera/depth_registered/image_raw"),  # Kinect
        ("/rgb/image_raw", "/depth_to_rgb/image_raw"),  # Azure Kinect
        ("/kinect2/qhd/image_color_rect", "/kinect2/qhd/image_depth_rect"),
        ("/camera/image_raw", "/camera/depth/image_raw"),
    ],
)
def test_drivers_layouts_are_known(image: str, depth: str) -> None:
    assert depth in registered_depth(image)
    assert depth_topics_of(image, {image, f"{depth}/compressedDepth"}) == [f"{depth}/compressedDepth"]


@pytest.mark.parametrize(
    ("image", "depth", "registered"),
    [
        ("/camera/color/image_raw", "/camera/depth/image_rect_raw", "/camera/aligned_depth_to_color/image_raw"),
        ("/camera/rgb/image_color", "/camera/depth/image", "/camera/depth_registered/image"),
        ("/rgb/image_raw", "/depth/image_raw", "/depth_to_rgb/image_raw"),
    ],
)
def test_depth_that_is_not_registered_comes_after_what_is(image: str, depth: str, registered: str) -> None:
    assert depth in unregistered_depth(image)
    assert depth not in registered_depth(image)
    assert depth_topics_of(image, {depth, registered}) == [registered, depth]


MOUNT = DepthMount(Camera("PINHOLE", 160, 120, (165.0, 165.0, 79.5, 59.5)), Pose(translation=np.array([0.5, 0, 0])))
OPENNI = WriterTopics(
    "/camera/rgb/image_raw",
    camera_info="/camera/rgb/camera_info",
    depth="/camera/depth/image_raw",
    depth_info="/camera/depth/camera_info",
)


def unregistered(path: Path, mount: DepthMount | None = MOUNT, topics: WriterTopics = OPENNI) -> Path:
    """One image, and depth that says 1 m in the left half and 2 m in the right half, perhaps of another camera."""
    halves = np.repeat(np.uint16([[1000, 2000]]), 80, axis=1).repeat(120, axis=0)
    with open_writer(path, "mcap", topics) as writer:
        if mount is not None:
            writer.depth_mount(STEP_NS, mount)
        writer.image(STEP_NS, textured_image())
        writer.camera_info(STEP_NS, CAMERA)
        writer.depth(STEP_NS, cv2.imencode(".png", halves)[1].tobytes())
    return path


def ranges_of(path: Path, **options: Any) -> np.ndarray | None:
    """Of four keypoints in one row."""
    pixels = np.float32([[10, 60], [70, 60], [105, 60], [140, 60]])
    features = Features(pixels, np.ones(4, np.float32), np.zeros((4, 8), np.float32), np.ones(8, np.float32), 160, 120)
    with Bag(path, BagOptions(**{"image_topic": OPENNI.image} | options)) as bag, recorded_depth(bag) as depth:
        found = depth.ranges(STEP_NS, features, CAMERA)
    return None if found is None else found.metres


def test_depth_of_another_camera_is_carried_into_the_image_by_its_camera_info_and_tf(tmp_path: Path) -> None:
    # The edge is at x = 80 of the depth image; what is 1 m away moves by 75 pixels, what is 2 m away by 37.
    found = ranges_of(unregistered(tmp_path / "bag"))
    assert found is not None
    assert found == pytest.approx([np.nan, np.nan, 1.0, 1.0], nan_ok=True)
    near = ranges_of(tmp_path / "bag", camera_from_depth=Pose(translation=np.array([0.1, 0.0, 0.0])))
    assert near == pytest.approx([np.nan, 1.0, 2.0, 2.0], nan_ok=True)


def test_its_camera_info_may_have_another_name(tmp_path: Path) -> None:
    path = unregistered(tmp_path / "bag", topics=replace(OPENNI, depth_info="/elsewhere/info"))
    assert ranges_of(path) is None
    told = ranges_of(path, depth_camera_info_topic="/elsewhere/info")
    assert told == pytest.approx([np.nan, np.nan, 1.0, 1.0], nan_ok=True)
    with pytest.raises(DatasetError, match="/nowhere has no calibration"):
        ranges_of(path, depth_camera_info_topic="/nowhere")


def test_depth_of_which_nothing_tells_where_it_is_from_is_not_used_unless_somebody_says_it_is_registered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = unregistered(tmp_path / "bag", MOUNT, replace(OPENNI, camera_frame="elsewhere"))
    lost = tmp_path / "lost"
    with open_writer(lost, "mcap", OPENNI) as writer:
        writer.image(STEP_NS, textured_image())
        writer.camera_info(STEP_NS, CAMERA)
        writer.topics = replace(OPENNI, camera_frame="camera_depth_frame", camera_info=OPENNI.depth_info)
        writer.camera_info(STEP_NS, MOUNT.camera)
        halves = np.full((120, 160), 1500, np.uint16)
        writer.topics = replace(writer.topics, compressed=f"{OPENNI.depth}/compressedDepth")
        writer.compressed(STEP_NS, bytes(12) + cv2.imencode(".png", halves)[1].tobytes(), "16UC1; compressedDepth png")
    assert ranges_of(path) is not None  # its transforms name both
    assert ranges_of(lost) is None
    assert "/tf does not tell where its frame 'camera_depth_frame' is beside 'camera'" in caplog.text
    assert ranges_of(lost, depth_topic=f"{OPENNI.depth}/compressedDepth") == pytest.approx([1.5] * 4)
    assert "it is taken to be registered" in caplog.text


def test_depth_in_the_frame_of_the_images_is_registered_whatever_its_topic(tmp_path: Path) -> None:
    assert ranges_of(unregistered(tmp_path / "bag", mount=None)) == pytest.approx([1.0, 1.0, 2.0, 2.0])


def test_a_folder_of_images_takes_its_depth_into_the_bag(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "depth").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{index:06d}.png"), textured_image(seed=index))
    (tmp_path / "depth" / "000002.png").write_bytes(png(2500))
    write_folder_bag(list_folder(tmp_path, None, rate_hz=10.0), CAMERA, tmp_path / "bag", storage="mcap")
    assert told(tmp_path / "bag") == [None, None, 2.5, None]


def test_depth_that_a_driver_registers_is_so_unless_its_frame_tells_otherwise(tmp_path: Path) -> None:
    oak = WriterTopics("/oak/rgb/image_raw", camera_info="/oak/rgb/camera_info", depth="/oak/stereo/image_raw")
    oak = replace(oak, depth_info="/oak/stereo/camera_info")
    aligned = unregistered(tmp_path / "aligned", None, oak)
    assert ranges_of(aligned, image_topic=oak.image) == pytest.approx([1.0, 1.0, 2.0, 2.0])
    aside = unregistered(tmp_path / "aside", MOUNT, oak)  # in the frame of the right camera
    assert ranges_of(aside, image_topic=oak.image) == pytest.approx([np.nan, np.nan, 1.0, 1.0], nan_ok=True)
    says = replace(
        OPENNI, depth="/camera/depth_registered/image_raw", depth_info="/camera/depth_registered/camera_info"
    )
    sure = unregistered(tmp_path / "says", MOUNT, says)  # whatever frame its header has
    assert ranges_of(sure) == pytest.approx([1.0, 1.0, 2.0, 2.0])


def test_a_folder_tells_the_camera_of_its_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    for part in ("images", "depth"):
        (folder / part).mkdir(parents=True)
    calibration = {"model": "PINHOLE", "width": 160, "height": 120, "fx": 150.0, "fy": 150.0, "cx": 79.5, "cy": 59.5}
    (folder / "camera.json").write_text(json.dumps(calibration))
    (folder / "depth_camera.json").write_text(json.dumps({**calibration, "fx": 165.0, "fy": 165.0}))
    cv2.imwrite(str(folder / "images" / "000001.png"), textured_image())
    halves = np.repeat(np.uint16([[1000, 2000]]), 80, axis=1).repeat(120, axis=0)
    cv2.imwrite(str(folder / "depth" / "000001.png"), halves)
    command = ["bag", "from-images", str(folder), "-o", str(tmp_path / "bag"), "--camera-from-depth", "0.5 0 0 0 0 0 1"]
    monkeypatch.setattr("sys.argv", ["hfnet", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    with Bag(tmp_path / "bag") as bag, recorded_depth(bag) as depth:
        mount = depth.mount
    assert mount is not None
    assert mount.camera.focal_length == (165.0, 165.0)
    assert mount.colour_from_depth.translation == pytest.approx([0.5, 0, 0])


def test_a_first_stamp_of_another_clock_does_not_hide_the_depth_behind_it(tmp_path: Path) -> None:
    """A driver that leaves its first header at zero, in a recording of simulated time: the time of day counts then."""
    with open_writer(tmp_path / "bag", "mcap") as writer:
        writer.depth(1_700_000_000 * 10**9, png(500))
        for index in range(5):
            writer.image((index + 1) * STEP_NS, textured_image(seed=index))
            writer.camera_info((index + 1) * STEP_NS, CAMERA)
            writer.depth((index + 1) * STEP_NS, png(1000 + index))
    with Bag(tmp_path / "bag") as bag, recorded_depth(bag) as depth:
        found = [depth.at((index + 1) * STEP_NS) for index in range(5)]
    assert [None if one is None else float(one.metres[5, 5]) for one in found] == pytest.approx(
        [1.0, 1.001, 1.002, 1.003, 1.004]
    )
