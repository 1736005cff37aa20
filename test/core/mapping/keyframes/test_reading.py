"""What a build reads of a recording: damaged images are counted, poses too far away refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import START, STEP
from corners import Corners
from drive import INFO, drive
from helpers import textured_image

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import Placed, build_from_keyframes, build_map
from hfnet_core.mapping.keyframes.reading import BuildTools, ReadingPlan, read_keyframes
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 160, 120, (100.0, 100.0, 79.5, 59.5))
CONFIG = MapBuildConfig()


def recording(path: Path, damaged: set[int], at: Pose | None = None) -> Path:
    """Six compressed images, poses if they are somewhere."""
    with open_writer(path, "mcap") as writer:
        for index in range(6):
            stamp = START + index * STEP
            jpeg = cv2.imencode(".jpg", textured_image(160, 120, index))[1].tobytes()
            writer.compressed(stamp, jpeg[:40] if index in damaged else jpeg, "jpeg")
            writer.camera_info(stamp, CAMERA)
            if at is not None:
                writer.pose(stamp, at @ Pose(translation=np.array([0.5 * index, 0.0, 0.0])))
    return path


def read(path: Path, *indices: int) -> dict[str, object]:
    """What is told of keyframes that are chosen beside those of another camera."""
    beside = tuple(START + index * STEP for index in indices)
    with Bag(path) as bag:
        reading = read_keyframes(bag, ReadingPlan(1, from_images=True, beside=beside), BuildTools(Corners(), CONFIG))
    return dict(reading.summary)


def test_damaged_images_of_a_second_camera_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = read(recording(tmp_path / "bag", {3, 4}), 1, 2, 3)
    assert (told["number"], told["keyframes"], told["damaged_images"]) == (1, 2, 1)
    assert "1 of 6 images are left out, the first: image 3" in caplog.text


def test_a_camera_of_which_no_image_can_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"bag: no image of /camera/image_raw.* can be used, the first: image 3"):
        read(recording(tmp_path / "bag", {3, 4}), 3, 4)


def test_poses_of_a_survey_s_frame_are_refused_where_a_map_would_round_them(tmp_path: Path) -> None:
    utm = Pose(translation=np.array([500_000.0, 5_412_345.0, 300.0]))
    with pytest.raises(DatasetError, match=r"bag: poses of .*: they lie up to 5412345 m .* to 0\.50 m: give poses in"):
        build_map([recording(tmp_path / "bag", set(), utm)], Corners(), CONFIG)


def test_keyframes_of_a_survey_s_frame_make_no_map() -> None:
    scene = drive(views=4, landmarks=100)
    away = Pose(translation=np.array([0.0, 2e5, 0.0]))
    far = [replace(item, map_from_camera=away @ item.map_from_camera) for item in scene.keyframes]
    with pytest.raises(MapError, match=r"keyframes lie up to 20000\d m from the origin"):
        build_from_keyframes(Placed(far), INFO, replace(CONFIG, refine_poses=False))
