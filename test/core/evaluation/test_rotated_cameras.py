"""Images of cameras that are mounted upside down or on their side, or partly hidden, are localized as others."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import START, STEP, static_transform
from helpers import tiny_model
from scipy.spatial.transform import Rotation
from wall import CAMERA, map_from_camera, view, wall_files

from hfnet_core.config import ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.preparation import ROTATIONS
from hfnet_core.mapping.builder import build_map
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localized

MOUNT = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def rolled(rotation: int) -> Pose:
    """upright_from_taken: the camera whose images need this rotation, in the frame of one that does not."""
    return Pose(Rotation.from_euler("z", rotation, degrees=True).as_matrix())


def camera_of(rotation: int) -> Camera:
    fx, fy, *_ = CAMERA.params
    width, height = CAMERA.width, CAMERA.height
    if rotation in (90, 270):
        return Camera("PINHOLE", height, width, (fy, fx, (height - 1) / 2, (width - 1) / 2))
    return CAMERA


def drive(path: Path, shifts: list[int], rotation: int, *, mount: bool = False) -> Path:
    """A recording of the wall by a camera that is rolled."""
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(shifts):
            stamp = START + index * STEP
            writer.image(stamp, np.ascontiguousarray(np.rot90(view(shift), rotation // 90)))
            writer.camera_info(stamp, camera_of(rotation))
            writer.pose(stamp, map_from_camera(shift) @ rolled(rotation))
        if mount:
            static_transform(writer, "base_link", "camera", START, Pose(MOUNT) @ rolled(rotation))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return wall_files(tmp_path_factory.mktemp("wall"))


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("asked", ["told", "by the mount", "by trying", "nobody"])
def test_queries_of_a_rolled_camera(files: tuple[Path, Path], tmp_path: Path, rotation: int, asked: str) -> None:
    bag = drive(tmp_path / "a", [40, 48, 56], rotation, mount=asked == "by the mount")
    told = {"told": str(rotation), "nobody": "0"}.get(asked, "auto")
    options = BagOptions(image_rotation=told, poses_wanted=asked != "by trying")
    answers = list(OfflineLocalizer(files[1], files[0]).bag(bag, options))
    assert len(answers) == 3
    for answer, shift in zip(answers, (40, 48, 56), strict=True):
        assert isinstance(answer.result, Localized)
        metres, degrees = pose_error(answer.result.map_from_camera, map_from_camera(shift) @ rolled(rotation))
        assert metres < 0.05
        assert degrees < 1.0


@pytest.mark.parametrize(("turns", "asked"), [("search", "0"), ("off", "auto")])
def test_an_image_file_is_turned_by_trying(files: tuple[Path, Path], tmp_path: Path, turns: str, asked: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.rot90(view(40), 2))
    offline = OfflineLocalizer(files[1], files[0], localizer=LocalizerConfig(search_budget_ms=1000.0, turns=turns))
    (answer,) = offline.images(tmp_path, options=BagOptions(image_rotation=asked))
    assert isinstance(answer.result, Localized)
    assert pose_error(answer.result.map_from_camera, map_from_camera(40) @ rolled(180))[0] < 0.05


def test_an_image_file_is_not_turned_where_nobody_wants_that(files: tuple[Path, Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.rot90(view(40), 2))
    offline = OfflineLocalizer(files[1], files[0], localizer=LocalizerConfig(search_budget_ms=1000.0, turns="off"))
    (answer,) = offline.images(tmp_path)
    assert not isinstance(answer.result, Localized)


@pytest.mark.parametrize("rotation", [90, 180])
def test_a_map_of_a_rolled_camera_is_that_of_an_upright_one(tmp_path: Path, rotation: int) -> None:
    shifts = [0, 32, 64, 96]
    bags = [drive(tmp_path / str(roll), shifts, roll) for roll in (0, rotation)]
    extractor = Extractor(open_backend(tiny_model(tmp_path), threads=1), ExtractorConfig(max_keypoints=300))
    config = MapBuildConfig(refine_poses=False)
    upright, turned = (
        build_map([bag], extractor, config, BagOptions(image_rotation=str(roll)))
        for bag, roll in zip(bags, (0, rotation), strict=True)
    )
    assert turned.landmarks == upright.landmarks
    assert np.allclose(np.sort(turned.landmarks_xyz, axis=0), np.sort(upright.landmarks_xyz, axis=0), atol=1e-3)
    assert pose_error(turned.map_from_camera(1), map_from_camera(32) @ rolled(rotation)) == pytest.approx(
        (0, 0), abs=1e-5
    )
    assert turned.provenance["recordings"][0]["image_rotation"] == rotation
    assert "image_rotation" not in upright.provenance["recordings"][0]


def test_what_a_mask_hides_is_in_no_map_and_no_pose(files: tuple[Path, Path], tmp_path: Path) -> None:
    mask = np.full((CAMERA.height, CAMERA.width), 255, np.uint8)
    mask[200:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    bag = drive(tmp_path / "a", [0, 32, 64, 96], 0)
    options = BagOptions(mask=tmp_path / "mask.png")
    unsure = LocalizerConfig(
        min_confidence=0.9, search_budget_ms=1000.0
    )  # of half an image, by a network that nobody calibrated
    (first, *_) = OfflineLocalizer(files[1], files[0], localizer=unsure).bag(bag, options)
    assert isinstance(first.result, Localized)
    assert first.result.keypoints_px[:, 1].max() < 200
    extractor = Extractor(open_backend(files[0], threads=1), ExtractorConfig(max_keypoints=300))
    built = build_map([bag], extractor, MapBuildConfig(refine_poses=False), options)
    assert built.observation_px[:, 1].max() < 200
    assert built.provenance["recordings"][0]["mask"] == "mask.png"
