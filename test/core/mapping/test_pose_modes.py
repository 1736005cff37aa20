"""From a bag to a map without poses: a camera slides along a textured wall, the shipped network looks at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import transform
from scipy.spatial.transform import Rotation
from wall import CAMERA, map_from_camera, view, wall_image

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.maintenance.summary import summarize
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.pose_modes import Placed, in_frame_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bag_writer import BagWriter, WriterTopics, open_writer
from hfnet_core.recordings.options import BagOptions, options_per_camera
from hfnet_core.types import Features

START, STEP = 1_700_000_000 * 10**9, 10**8
WAY = (16, 48, 80, 112, 144, 176)
BASELINE_M = 0.1


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(open_backend(None, threads=1), ExtractorConfig(max_keypoints=400))


def slide(path: Path, extra: Callable[[BagWriter, int, int], None] = lambda writer, stamp, shift: None) -> Path:
    wall = wall_image()
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(WAY):
            stamp = START + index * STEP
            writer.camera_info(stamp, CAMERA)
            writer.image(stamp, view(shift, wall))
            extra(writer, stamp, shift)
    return path


def way_error(made: LandmarkMap) -> float:
    """Relative error of the distance between the first and the last image."""
    ends = made.map_from_camera(made.keyframes - 1).translation - made.map_from_camera(0).translation
    truth = map_from_camera(WAY[-1]).translation - map_from_camera(WAY[0]).translation
    return abs(float(np.linalg.norm(ends) / np.linalg.norm(truth)) - 1)


def test_poses_of_the_bag_serve_as_odometry_when_images_are_asked_for(tmp_path: Path, extractor: Extractor) -> None:
    bag = slide(tmp_path / "bag", lambda writer, stamp, shift: writer.pose(stamp, map_from_camera(shift)))
    made = build_map([bag], extractor, MapBuildConfig(pose_mode="images"))
    assert made.provenance["pose_mode"] == "images"
    assert made.keyframes == len(WAY)
    for keyframe, shift in enumerate(WAY):
        metres, degrees = pose_error(made.map_from_camera(keyframe), map_from_camera(shift))
        assert metres < 0.02
        assert degrees < 4.0  # a flat wall leaves the tilt open
    assert build_map([bag], extractor).provenance["pose_mode"] == "given"
    with pytest.raises(ConfigError, match="--pose-mode images"):
        build_map([bag], extractor, MapBuildConfig(known_distance="0 1 2.0"))


def test_a_bag_without_poses_needs_something_that_tells_the_scale(tmp_path: Path, extractor: Extractor) -> None:
    bag = slide(tmp_path / "bag")
    said: list[str] = []
    metres = float(np.linalg.norm(map_from_camera(WAY[4]).translation - map_from_camera(WAY[1]).translation))
    made = build_map([bag], extractor, MapBuildConfig(known_distance=f"1 4 {metres}"),
                     progress=lambda stage, done, total: said.append(stage))  # fmt: skip
    assert way_error(made) < 0.02
    assert "poses: images alone, scale from a known distance" in said
    free = build_map([bag], extractor, MapBuildConfig(scale_free=True))
    assert free.provenance["scale"]["source"] == "arbitrary"
    shown = [str(cell) for column in summarize(free, tmp_path / "x").columns for cell in column.cells]
    assert "ARBITRARY: metres mean nothing" in shown


def test_two_cameras_of_one_robot_give_the_scale(tmp_path: Path, extractor: Extractor) -> None:
    px = round(BASELINE_M / np.linalg.norm(map_from_camera(1).translation - map_from_camera(0).translation))
    left_from_right = map_from_camera(0).inverse() @ map_from_camera(px)
    wall = wall_image()

    def right(writer: BagWriter, stamp: int, shift: int) -> None:
        left, writer.topics = (
            writer.topics,
            WriterTopics("/right/image", "", "/right/camera_info", camera_frame="right"),
        )
        writer.camera_info(stamp, CAMERA)
        writer.image(stamp, view(shift + px, wall))
        if shift == WAY[0]:
            mount = transform(writer, left.camera_frame, "right", stamp, left_from_right)
            writer.write("/tf_static", "tf2_msgs/msg/TFMessage", stamp, transforms=[mount])
        writer.topics = left

    bag = slide(tmp_path / "bag", right)
    made = build_map(
        [bag], extractor, None, options_per_camera(BagOptions(), image_topic=["/camera/image_raw", "/right/image"])
    )
    assert made.keyframes == 2 * len(WAY)
    assert made.provenance["scale"]["source"] == "baseline"
    left, right_ones = (made.keyframe_poses[index : index + len(WAY), :, 3] for index in (0, len(WAY)))
    apart = np.median(np.linalg.norm(right_ones - left, axis=1))
    assert apart == pytest.approx(np.linalg.norm(left_from_right.translation), rel=0.03)


def test_odometry_that_never_moves_is_refused(tmp_path: Path, extractor: Extractor) -> None:
    bag = slide(tmp_path / "bag", lambda writer, stamp, shift: writer.pose(stamp, Pose()))
    with pytest.raises(DatasetError, match="odometry gives no scale"):
        build_map([bag], extractor, MapBuildConfig(pose_mode="images"))


def test_images_alone_stay_in_the_frame_of_an_earlier_map() -> None:
    """A build may choose another frame, and and without a scale other metres: what is common brings it back."""
    rng = np.random.default_rng(3)
    turn = Rotation.from_euler("xyz", (20, -40, 70), degrees=True).as_matrix()
    truth = [
        Pose(Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix(), np.array([0.5 * i, 0.1 * i * i, 0]))
        for i in range(12)
    ]
    features = Features(*(np.zeros(shape, np.float32) for shape in ((0, 2), 0, (0, 4), 4)), 320, 240)
    for source, scale in (("arbitrary", 0.4), ("known distance", 1.0)):
        elsewhere = Similarity(scale, Pose(turn, np.array([3.0, -2.0, 7.0])))
        keyframes = [Keyframe(f"0/{i}", i, 0, CAMERA, elsewhere.move(pose), features) for i, pose in enumerate(truth)]
        placed = Placed(keyframes, provenance={"scale": {"source": source}})
        moved = in_frame_of(placed, {f"0/{i}": truth[i] for i in range(8)})
        for keyframe, pose in zip(moved.keyframes, truth, strict=True):
            metres, degrees = pose_error(keyframe.map_from_camera, pose)
            assert metres < 1e-6
            assert degrees < 1e-6
        assert in_frame_of(placed, {"0/1": truth[1], "other": truth[2]}) is placed
