"""Queries whose calibration or bits are not as they should be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from wall import CAMERA, map_from_camera, view, wall_files

from hfnet_core.cli.main import main
from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.geometry import pose_error
from hfnet_core.maintenance.extend import extend_map
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localized, NotLocalized

FX, FY, CX, CY = CAMERA.params


@pytest.fixture(scope="module")
def localizer(tmp_path_factory: pytest.TempPathFactory) -> OfflineLocalizer:
    model, map_file = wall_files(tmp_path_factory.mktemp("wall"))
    return OfflineLocalizer(
        map_file, model, localizer=LocalizerConfig(min_confidence=0.9, search_budget_ms=1000.0)
    )  # a network nobody calibrated


def calibration(folder: Path, fx: float, fy: float, cx: float, cy: float) -> Path:
    path = folder / "camera.json"
    fields = {"width": CAMERA.width, "height": CAMERA.height, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
    path.write_text(json.dumps(fields))
    return path


def scaled(factor: float) -> Camera:
    return Camera("PINHOLE", CAMERA.width, CAMERA.height, (factor * FX, factor * FY, factor * CX, factor * CY))


@pytest.mark.parametrize("bits", [10, 12])
def test_photos_of_few_bits_are_localized_as_in_8_bits(localizer: OfflineLocalizer, tmp_path: Path, bits: int) -> None:
    for shift in (40, 56):
        deep = (view(shift).astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"{shift}.png"), deep)
    for answer, shift in zip(localizer.images(tmp_path), (40, 56), strict=True):
        assert isinstance(answer.result, Localized)
        assert pose_error(answer.result.map_from_camera, map_from_camera(shift))[0] < 0.05


def test_a_calibration_of_another_resolution_is_refused_unless_trusted(
    localizer: OfflineLocalizer, tmp_path: Path
) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), view(40))
    twice = calibration(tmp_path, 2 * FX, 2 * FY, 2 * CX, 2 * CY)
    with pytest.raises(DatasetError, match=r"camera.json: calibration cannot be true: cx .*--trust-calibration"):
        list(localizer.images(image, twice))
    two_thirds = calibration(tmp_path, FX * 2 / 3, FY * 2 / 3, CX * 2 / 3, CY * 2 / 3)
    with pytest.raises(DatasetError, match=r"map's camera of 320x240 times 0.667 .*about 213x160"):
        list(localizer.images(image, two_thirds))
    assert len(list(localizer.images(image, two_thirds, BagOptions(trust_calibration=True)))) == 1


def test_a_calibration_unlike_the_maps_is_logged(
    localizer: OfflineLocalizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), view(40))
    list(localizer.images(image, calibration(tmp_path, 0.8 * FX, 0.8 * FY, CX + 4, CY - 3)))
    assert "unlike that of the map's camera of the same 320x240" in caplog.text


def test_queries_with_impossible_cameras_have_the_reason_and_no_pose(
    localizer: OfflineLocalizer, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), view(40))
    listed = [("a.png", CAMERA), ("b.png", scaled(2.0)), ("c.png", scaled(0.6))]
    right, twice, small = localizer.listed(tmp_path, listed)
    assert isinstance(right.result, Localized)
    assert isinstance(twice.result, NotLocalized)
    assert "cannot be true" in twice.result.detail
    assert isinstance(small.result, NotLocalized)
    assert "times 0.6" in small.result.detail
    assert "cannot be true" not in str([answer.result for answer in localizer.listed(tmp_path, listed, trust=True)])


def drive(path: Path, camera: Camera) -> Path:
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate((40, 48)):
            stamp = (1_700_000_000 + index) * 10**9
            writer.image(stamp, view(shift))
            writer.camera_info(stamp, camera)
            writer.pose(stamp, map_from_camera(shift))
    return path


def status() -> object:
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_commands_refuse_what_is_the_maps_camera_of_another_resolution(
    localizer: OfflineLocalizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, map_file = wall_files(tmp_path)
    bag = drive(tmp_path / "bag", scaled(2 / 3))
    for command in ("localize", "eval-bag"):
        monkeypatch.setattr(sys, "argv", ["hfnet", command, str(map_file), str(bag), "--model", str(model)])
        assert status() == 2
        said = capsys.readouterr().err
        assert "images of about 213x160" in said
        assert "--trust-calibration" in said
        monkeypatch.setattr(sys, "argv", [*sys.argv, "--trust-calibration"])
        assert status() == 0
        assert "213x160" not in capsys.readouterr().err
    with pytest.raises(DatasetError, match="images of about 213x160"):
        extend_map(localizer.map, [bag], BuildTools(localizer.extractor))
