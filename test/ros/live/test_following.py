"""A map whose file is replaced: noticed once, loaded in a thread, told once."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_core.errors import MapError
from hfnet_ros.live.following import MapFollower
from hfnet_ros.node.map_component import file_version


def replaced(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def told(follower, current, load):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = follower.watch(current, load)
        if found is not None:
            return found
        time.sleep(0.01)
    raise AssertionError("nothing was told")


def test_every_version_is_loaded_once(tmp_path):
    path, loads = tmp_path / "a.hfmap", []
    path.write_text("one")
    current = SimpleNamespace(path=path, version=file_version(path))

    def load(name):
        loads.append(name)
        if path.read_text() == "broken":
            raise MapError(f"{name}: is no map file")
        return f"map {path.read_text()}"

    follower = MapFollower()
    assert follower.watch(current, load) is None
    assert follower.watch(current, load) is None
    assert not loads
    replaced(path, "three")
    assert told(follower, current, load) == "map three"
    assert loads == [str(path)]
    current = SimpleNamespace(path=path, version=file_version(path))
    assert follower.watch(current, load) is None
    replaced(path, "broken")
    assert isinstance(told(follower, current, load), MapError)
    for _ in range(5):
        assert follower.watch(current, load) is None  # not again
    path.unlink()
    assert follower.watch(current, load) is None  # between two versions
    path.write_text("four")
    assert told(follower, current, load) == "map four"
    assert len(loads) == 3


def test_what_was_loaded_for_a_map_that_is_no_longer_in_use_is_dropped(tmp_path):
    path, other, may_end = tmp_path / "a.hfmap", tmp_path / "b.hfmap", threading.Event()
    path.write_text("one")
    other.write_text("another")
    current = SimpleNamespace(path=path, version=file_version(path))
    follower = MapFollower()

    def load(name):
        may_end.wait(20)
        return f"map {name}"

    replaced(path, "three")
    assert follower.watch(current, load) is None
    current = SimpleNamespace(path=other, version=file_version(other))  # as after ~/load_map
    may_end.set()
    for _ in range(20):
        assert follower.watch(current, load) is None
        time.sleep(0.01)
    replaced(other, "another yet")
    assert told(follower, current, load) == f"map {other}"
