from __future__ import annotations

import errno
import mmap
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bags import wall_drive
from corners import Corners

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, ShortageError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.workspace import Workspace, key_of, open_workspace
from hfnet_core.maps.storage import save_map
from hfnet_core.maps.tensor_file import read_tensors, write_tensors
from hfnet_core.types import Features


@pytest.fixture
def wall_bag(tmp_path: Path) -> Path:
    return wall_drive(tmp_path / "wall")


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
        build_map([wall_bag], first, config, progress=dies, workspace=Workspace(folder))
    damaged = sorted(folder.glob("features-*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    second = Corners()
    resumed = build_map([wall_bag], second, config, workspace=Workspace(folder))
    assert first.calls == whole.calls
    assert second.calls == 1  # the damaged entry
    third = Corners()
    again = build_map([wall_bag], third, config, workspace=Workspace(folder))
    assert third.calls == 0
    for name, built in (("a", expected), ("b", resumed), ("c", again)):
        save_map(built, tmp_path / f"{name}.hfmap")
    assert len({(tmp_path / f"{name}.hfmap").read_bytes() for name in "abc"}) == 1


def test_the_folder_goes_away_and_belongs_to_one_build(tmp_path: Path) -> None:
    output = tmp_path / "a.hfmap"
    with open_workspace(output) as workspace:
        workspace.store("x", {"y": np.arange(3)})
        stored = workspace.load("x")
        assert stored is not None
        assert list(stored["y"]) == [0, 1, 2]
        with pytest.raises(ConfigError, match="another build"), open_workspace(output):
            pass
        assert workspace.load("x") is not None  # the refused build has removed nothing
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), open_workspace(output):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="cannot be created"), open_workspace(tmp_path / "none" / "a.hfmap"):
        pass


def test_a_planted_folder_or_lock_is_not_used(tmp_path: Path) -> None:
    """Names known beforehand, in a folder where others may write: links there lead nowhere."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".a.hfmap.work").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(ConfigError, match="is a link or belongs to somebody else"),
        open_workspace(tmp_path / "a.hfmap"),
    ):
        pass
    assert (tmp_path / "elsewhere").is_dir()
    (tmp_path / ".b.hfmap.work").mkdir()
    (tmp_path / ".b.hfmap.work" / "lock").symlink_to(precious)
    with pytest.raises(ConfigError, match="cannot be created"), open_workspace(tmp_path / "b.hfmap"):
        pass
    assert precious.read_text() == "mine"


def command(bag: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "hfnet_core", "map", "build", str(bag), "-o", str(output)]


def interrupted(bag: Path, output: Path, interrupt: signal.Signals, entries: int) -> int | None:
    """Start a build and interrupt it once its workspace holds so many entries. Returns its exit status."""
    # A suite that runs in the background of a shell hands down SIGINT as ignored.
    start = ["env", "--default-signal=INT", *command(bag, output)]
    with subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        folder = output.parent / f".{output.name}.work"
        deadline = time.monotonic() + 60
        while len(list(folder.glob("[fm]*"))) < entries and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(interrupt)
        process.communicate(timeout=60)
    return process.returncode


def test_ctrl_c_leaves_nothing(wall_bag: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.hfmap"
    assert interrupted(wall_bag, output, signal.SIGINT, 1) in (2, 130)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["wall"]


def test_killed_builds_end_with_the_same_map(wall_bag: Path, tmp_path: Path) -> None:
    """`test/bench/kill.py` does the same at random moments, ten times."""
    backend = open_backend(None, "onnxruntime")
    config = MapBuildConfig()
    expected = tmp_path / "expected.hfmap"
    extractor = Extractor(backend, ExtractorConfig(max_keypoints=config.max_keypoints))
    save_map(build_map([wall_bag], extractor, config), expected)
    output = tmp_path / "a.hfmap"
    for entries in (3, 9):  # among the features, and among the matches
        assert interrupted(wall_bag, output, signal.SIGKILL, entries) == -signal.SIGKILL
        assert not output.exists()
        assert (tmp_path / ".a.hfmap.work").is_dir()
    (tmp_path / ".a.hfmap.1234abcd.part").write_bytes(b"killed while it wrote the map")
    subprocess.run(command(wall_bag, output), check=True, capture_output=True, timeout=60)
    assert output.read_bytes() == expected.read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.hfmap", "expected.hfmap", "wall"]


def features(count: int = 5) -> Features:
    """Of a very small image."""
    keypoints = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    return Features(
        keypoints, np.ones(count, np.float32), np.eye(count, 8, dtype=np.float32), np.ones(3, np.float32), 40, 30
    )


def change(path: Path, name: str, values: np.ndarray | None) -> None:
    """Another array in a file, whose checksums fit."""
    arrays = dict(read_tensors(path, verify=True, accept=lambda metadata: None, in_memory=True).arrays)
    if values is None:
        del arrays[name]
    else:
        arrays[name] = values
    write_tensors(path, arrays, {})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("keypoints", None),
        ("keypoints", np.zeros(10, np.float32)),
        ("keypoints", np.full((5, 2), np.nan, np.float32)),
        ("keypoints", np.full((5, 2), 1e9, np.float32)),
        ("scores", np.ones(4, np.float32)),
        ("descriptors", np.eye(5, 8)),
        ("descriptors", np.full((5, 8), np.inf, np.float32)),
        ("global", np.ones((3, 1), np.float32)),
        ("size", np.array([40, 0])),
        ("size", np.array([40, 30, 1])),
        ("factors", np.array([-1.0])),
    ],
)
def test_features_that_somebody_has_changed_are_as_good_as_none(
    tmp_path: Path, name: str, values: np.ndarray | None
) -> None:
    workspace = Workspace(tmp_path)
    workspace.store_features("a", features())
    assert np.array_equal(workspace.load_features("a").keypoints_px, features().keypoints_px)
    change(tmp_path / "features-a", name, values)
    assert workspace.load_features("a") is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("others", None),
        ("others", np.zeros((2, 32), np.float32)),
        ("pairs", np.full((4, 2), -1, np.int32)),
        ("pairs", np.zeros((4, 3), np.int32)),
        ("ends", np.array([3, 1])),
        ("ends", np.array([1, 3])),
        ("ends", np.array([4])),
    ],
)
def test_matches_that_somebody_has_changed_are_as_good_as_none(
    tmp_path: Path, name: str, values: np.ndarray | None
) -> None:
    workspace, matches = Workspace(tmp_path), np.array([[0, 1], [2, 3]], np.int32)
    stored = {"0" * 64: matches, "1" * 64: matches}
    workspace.store_matches("a", stored)
    assert {key: found.tolist() for key, found in workspace.load_matches("a").items()} == {
        key: found.tolist() for key, found in stored.items()
    }
    change(tmp_path / "matches-a", name, values)
    assert workspace.load_matches("a") == {}


def test_matches_of_keypoints_that_there_are_not_are_made_anew(wall_bag: Path, tmp_path: Path) -> None:
    config = MapBuildConfig(refine_intrinsics=False)
    expected = build_map([wall_bag], Corners(), config, workspace=Workspace(tmp_path))
    for path in tmp_path.glob("matches-*"):
        pairs = read_tensors(path, verify=True, accept=lambda metadata: None, in_memory=True).arrays["pairs"]
        change(path, "pairs", np.full_like(pairs, 10**6))
    again = build_map([wall_bag], Corners(), config, workspace=Workspace(tmp_path))
    assert np.array_equal(again.observation_px, expected.observation_px)


def test_too_little_memory_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    workspace.store_features("a", features())

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuses)
    with pytest.raises(ShortageError, match="features-a: cannot be opened"):
        workspace.load_features("a")
