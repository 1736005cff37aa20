"""Which images the node keeps of what it does not know well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from helpers import textured_image
from wall import CAMERA

from hfnet_core.config import NodeConfig
from hfnet_core.geometry import Pose
from hfnet_core.types import Localized, Mode, NotLocalized, Reason
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet
from hfnet_ros.node.weak.recorder import WeakRecorder

GOOD = Localized(
    Pose(), np.eye(6), Mode.GLOBAL, 120, 150, np.zeros((0, 2), np.float32), np.zeros(0, np.int32), (), 0.5, 1.0
)
WEAK = replace(GOOD, inliers=30)
LOST = NotLocalized(Reason.TOO_FEW_MATCHES)


class Said:
    """A reporter that notes what it is told."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.health = SimpleNamespace(fact=self._fact, clear=lambda name: None)
        self.facts: dict[str, Any] = {}

    def _fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

    def complain(self, name: str, text: str, level: Any = None) -> None:
        self.problems.append(text)


def frames(tenths: int) -> FrameSet:
    """Of a camera a metre to the left of the base, at a time."""
    stamp_ns = 10**12 + tenths * 10**8
    mounting = Pose(translation=np.array([0.0, 1.0, 0.0]))
    pixels = textured_image(CAMERA.width, CAMERA.height, seed=tenths)
    frame = CameraFrame(pixels, CAMERA, mounting, "", "camera", stamp_ns)
    return FrameSet((frame,), stamp_ns, "base", stamp_ns, 0.0, 0)


def recorder(folder: Path, **settings: Any) -> tuple[WeakRecorder, Said]:
    said = Said()
    return WeakRecorder(NodeConfig(record_weak_folder=str(folder), **settings), said), said


def kept(folder: Path) -> list[int]:
    """The times of the images, in tenths."""
    names = sorted(path.stem for path in folder.glob("*/images/*"))
    return [round(float(name) * 10) - 10**4 for name in names]


def test_nothing_is_kept_by_default(tmp_path: Path) -> None:
    own, said = recorder(tmp_path / "weak")
    for tenths in range(5):
        own.see(frames(tenths), LOST, None)
    own.tell()
    assert not (tmp_path / "weak").exists()
    assert said.facts["weak stretches kept"] == "off"


def test_a_stretch_has_the_good_image_before_and_after_it(tmp_path: Path) -> None:
    own, _ = recorder(tmp_path, record_weak=True)
    told = [GOOD, GOOD, LOST, WEAK, LOST, LOST, LOST, GOOD, GOOD]
    for tenths, result in enumerate(told):
        own.see(frames(tenths), result, None)
    assert kept(tmp_path) == [
        1,
        2,
        5,
        7,
    ]  # the last good one; the first weak one, one a quarter of a second later; a good one


def test_a_weak_image_right_after_the_beginning_is_kept_and_odometry_is_the_cameras(tmp_path: Path) -> None:
    own, said = recorder(tmp_path, record_weak=True)
    own.see(frames(0), WEAK, Pose(translation=np.array([3.0, 0.0, 0.0])))
    own.tell()
    (poses,) = tmp_path.glob("*/poses_tum.txt")
    assert [float(value) for value in poses.read_text().split()[1:4]] == [3.0, 1.0, 0.0]
    assert said.facts["weak stretches kept"] == f"1 images in {tmp_path}"


def test_it_can_be_switched_off_and_forgets_when_time_starts_over(tmp_path: Path) -> None:
    own, _ = recorder(tmp_path, record_weak=True)
    own.see(frames(50), GOOD, None)
    own.forget()
    own.see(frames(0), LOST, None)
    own.enabled = False
    own.see(frames(9), LOST, None)
    assert kept(tmp_path) == [0]


def test_a_full_disk_is_said_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "weak").write_text("a file")
    own, said = recorder(tmp_path / "weak", record_weak=True)
    own.see(frames(0), LOST, None)
    assert "weak stretches are not kept" in said.problems[0]


def test_of_localization_that_flickers_weak_images_are_kept_and_none_twice(tmp_path: Path) -> None:
    own, said = recorder(tmp_path, record_weak=True)
    for tenths in range(20):
        own.see(frames(tenths), GOOD if tenths % 2 else WEAK, Pose(translation=np.array([float(tenths), 0.0, 0.0])))
    own.tell()
    times = kept(tmp_path)
    assert len([tenths for tenths in times if tenths % 2 == 0]) >= 4
    assert said.facts["weak stretches kept"] == f"{len(times)} images in {tmp_path}"
    rows = [line.split()[0] for path in tmp_path.glob("*/poses_tum.txt") for line in path.read_text().splitlines()]
    assert len(rows) == len(set(rows)) == len(times)
