from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bags import CAMERA, START, STEP
from helpers import textured_image, tiny_model

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.geometry import Pose
from hfnet_core.mapping.bag_writer import open_writer
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.storage import save_map
from hfnet_core.mapping.workplace import Workplace, key_of, open_workplace
from hfnet_core.types import Features


class Corners:
    """Features that need no network: corners, described by the pixels around them. Counts its calls."""

    info = SimpleNamespace(name="corners", version="0", model_hash="c" * 64)

    def __init__(self) -> None:
        self.calls = 0

    def extract(self, image: np.ndarray) -> Features:
        self.calls += 1
        gray = image if image.ndim == 2 else image[:, :, 0]
        corners = cv2.goodFeaturesToTrack(gray, 200, 0.01, 4).reshape(-1, 2)
        corners = corners[((corners > 8) & (corners < np.array(gray.shape[::-1]) - 8)).all(axis=1)]
        patches = np.array([gray[y - 7 : y + 8 : 2, x - 7 : x + 8 : 2].ravel() for x, y in corners.astype(int)])
        patches = patches - patches.mean(axis=1, keepdims=True) + 1e-3
        unit = patches / np.linalg.norm(patches, axis=1, keepdims=True)
        place = np.array([1.0, 0.0], dtype=np.float32)
        return Features(corners, np.ones(len(corners), np.float32), unit.astype(np.float32), place, *gray.shape[::-1])


@pytest.fixture
def wall_bag(tmp_path: Path) -> Path:
    """A camera that moves sideways along a textured wall 2 m away."""
    wall = textured_image(600, 120, seed=3)
    path = tmp_path / "wall"
    pinhole = type(CAMERA)("PINHOLE", 160, 120, (100.0, 100.0, 79.5, 59.5))
    with open_writer(path, "mcap") as writer:
        for index in range(8):
            stamp = START + index * STEP
            writer.image(stamp, np.ascontiguousarray(wall[:, 8 * index : 8 * index + 160]))
            writer.camera_info(stamp, pinhole)
            writer.pose(stamp, Pose(np.eye(3), np.array([8 * index * 2 / 100, 0.0, 0.0])))
    return path


def test_keys_depend_on_everything() -> None:
    array = np.arange(6, dtype=np.float32)
    keys = {
        key_of(*parts) for parts in ((array,), (array.reshape(2, 3),), (array.astype(int),), (1, 2), (12,), ("12",))
    }
    assert len(keys) == 6
    assert key_of(array, 1) == key_of(array.copy(), 1)


def test_a_build_resumes_and_ends_with_the_same_map(wall_bag: Path, tmp_path: Path) -> None:
    config = MapBuildConfig(refine_intrinsics=False)
    whole = Corners()
    expected = build_map([wall_bag], whole, config)
    assert expected.landmarks > 20
    assert np.abs(expected.landmarks_xyz[:, 2] - 2).max() < 0.2  # the wall is flat
    folder = tmp_path / "work"
    folder.mkdir()

    class KilledError(Exception):
        pass

    def dies(stage: str, done: int, total: int) -> None:
        if stage == "matching keyframes":
            raise KilledError

    first = Corners()
    with pytest.raises(KilledError):
        build_map([wall_bag], first, config, progress=dies, workplace=Workplace(folder))
    damaged = sorted(folder.glob("features-*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    second = Corners()
    resumed = build_map([wall_bag], second, config, workplace=Workplace(folder))
    assert first.calls == whole.calls
    assert second.calls == 1  # the damaged entry
    third = Corners()
    again = build_map([wall_bag], third, config, workplace=Workplace(folder))
    assert third.calls == 0
    for name, built in (("a", expected), ("b", resumed), ("c", again)):
        save_map(built, tmp_path / f"{name}.hfmap")
    assert len({(tmp_path / f"{name}.hfmap").read_bytes() for name in "abc"}) == 1


def test_the_folder_goes_away_and_belongs_to_one_build(tmp_path: Path) -> None:
    output = tmp_path / "a.hfmap"
    with open_workplace(output) as workplace:
        workplace.store("x", {"y": np.arange(3)})
        stored = workplace.load("x")
        assert stored is not None
        assert list(stored["y"]) == [0, 1, 2]
        with pytest.raises(ConfigError, match="another build"), open_workplace(output):
            pass
        assert workplace.load("x") is not None  # the refused build has removed nothing
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), open_workplace(output):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="cannot be created"), open_workplace(tmp_path / "none" / "a.hfmap"):
        pass


@pytest.mark.parametrize("interrupt", [signal.SIGINT, signal.SIGKILL])
def test_a_real_process_interrupted_or_killed(wall_bag: Path, tmp_path: Path, interrupt: signal.Signals) -> None:
    output, model = tmp_path / "a.hfmap", tiny_model(tmp_path)
    command = [
        sys.executable,
        "-m",
        "hfnet_core",
        "map",
        "build",
        str(wall_bag),
        "-o",
        str(output),
        "--model",
        str(model),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        folder = tmp_path / ".a.hfmap.work"
        deadline = time.monotonic() + 60
        while not list(folder.glob("features-*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(interrupt)
        process.communicate(timeout=60)
    assert not output.exists()
    if interrupt == signal.SIGINT:
        assert not folder.exists()
        assert process.returncode in (2, 130)
