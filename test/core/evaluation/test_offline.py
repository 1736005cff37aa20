"""`hfnet localize`: images, folders and bags, and what can be wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import tiny_model
from wall import CAMERA, map_from_camera, noise_image, view, wall_bag, wall_files

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.evaluation.offline import OfflineLocalizer, is_bag
from hfnet_core.geometry import pose_error
from hfnet_core.images.reading import read_image
from hfnet_core.types import Localized, NotLocalized, Reason


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return wall_files(tmp_path_factory.mktemp("wall"))


def test_a_folder_of_images(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, map_file = files
    cv2.imwrite(str(tmp_path / "a.png"), view(40))
    cv2.imwrite(str(tmp_path / "b.png"), noise_image())
    (tmp_path / "notes.txt").write_text("not an image")
    known, unknown = OfflineLocalizer(map_file, model).images(tmp_path)
    assert isinstance(known.result, Localized)
    assert pose_error(known.result.map_from_camera, map_from_camera(40))[0] < 0.05
    assert isinstance(unknown.result, NotLocalized)


def test_a_bag_keeps_its_truth(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, map_file = files
    bag = tmp_path / "drive"
    stamps = wall_bag(bag, [40, 48, None, 56])
    answers = list(OfflineLocalizer(map_file, model).bag(bag))
    assert [answer.stamp_ns for answer in answers] == stamps
    assert [isinstance(answer.result, Localized) for answer in answers] == [True, True, False, True]
    for answer in answers:
        if isinstance(answer.result, Localized):
            assert answer.truth is not None
            assert pose_error(answer.result.map_from_camera, answer.truth)[0] < 0.05
    assert is_bag(bag)
    assert not is_bag(tmp_path)


def test_a_map_refuses_another_model(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tiny_model(tmp_path, seed=7)
    with pytest.raises(MapError) as caught:
        OfflineLocalizer(files[1], other)
    assert "\n" not in str(caught.value)
    assert str(files[1]) in str(caught.value)


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(cv2.imencode(".png", view(0))[1].tobytes()[:40])
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("cut.png", "empty.jpg", "missing.jpg"):
        with pytest.raises(DatasetError, match=name):
            read_image(tmp_path / name)


def test_an_image_of_another_size_asks_for_its_calibration(files: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), np.zeros((64, 96), np.uint8))
    with pytest.raises(DatasetError, match="--calibration"):
        list(OfflineLocalizer(files[1], files[0]).images(path))


def test_one_bad_image_of_a_folder_is_a_line_and_not_the_end(files: tuple[Path, Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((64, 96), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), view(40))
    (tmp_path / "c.png").write_bytes(cv2.imencode(".png", view(0))[1].tobytes()[:40])
    cv2.imwrite(str(tmp_path / "d.png"), view(48))
    small, first, cut, second = (answer.result for answer in OfflineLocalizer(files[1], files[0]).images(tmp_path))
    assert isinstance(first, Localized)
    assert isinstance(second, Localized)
    for bad, said in ((small, "96x64"), (cut, "c.png")):
        assert isinstance(bad, NotLocalized)
        assert bad.reason is Reason.BAD_IMAGE
        assert said in bad.detail


def test_a_folder_of_which_no_image_can_be_used_says_so_once(files: tuple[Path, Path], tmp_path: Path) -> None:
    for name in "abcd":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((64, 96), np.uint8))
    with pytest.raises(DatasetError, match=r"a\.png: 96x64.*--calibration"):
        list(OfflineLocalizer(files[1], files[0]).images(tmp_path))


def hfnet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hfnet_core", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command_line_writes_poses_and_fails_in_one_line(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, map_file = files
    image, poses = tmp_path / "a.png", tmp_path / "poses.txt"
    cv2.imwrite(str(image), view(40))
    done = hfnet("localize", map_file, image, "--model", model, "--output", poses)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 images localized" in done.stdout
    x = float(poses.read_text().split()[1])
    assert x == pytest.approx(map_from_camera(40).translation[0], abs=0.05)

    calibration = tmp_path / "zero.json"
    fields = {"model": "PINHOLE", "width": CAMERA.width, "height": CAMERA.height, "fx": 0, "fy": 0, "cx": 0, "cy": 0}
    calibration.write_text(json.dumps(fields))
    for arguments, word in [
        ([tmp_path / "no.hfmap", image], "no.hfmap"),
        ([map_file, tmp_path / "no.png"], "no.png"),
        ([map_file, image, "--calibration", calibration], "zero.json"),
        ([map_file, image, "--model", tiny_model(tmp_path, seed=3)], "model"),
    ]:
        refused = hfnet("localize", *arguments, *([] if "--model" in arguments else ["--model", model]))
        assert refused.returncode == 2, refused.stderr
        assert refused.stderr.count("\n") == 1
        assert word in refused.stderr
