"""Large maps are verified while they are in use."""

from __future__ import annotations

import gc
import json
import os
import shutil
import struct
import threading
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from robot import until
from scene import Scene, walk

from hfnet_core.errors import MapError
from hfnet_core.maps.storage import save_map
from hfnet_ros.node import map_component
from hfnet_ros.node.map_component import SharedMap, Verification, shared_map


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_map(Scene.make(points=600).build_map(walk(12)), tmp_path / "a.hfmap")
    return tmp_path / "a.hfmap"


def damage(path: Path, array: str = "observation_descriptors") -> None:
    """One bit of an array that nothing else depends on; the file's time stays."""
    content = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    content[start + json.loads(content[8:start])[array]["data_offsets"][0]] ^= 1
    path.write_bytes(content)


def model_of(path: Path) -> str:
    return map_component.load_map(path, verify=False).model_hash


def test_a_small_map_is_verified_before_it_is_used(path: Path) -> None:
    model = model_of(path)
    assert shared_map(path, model).verification is None
    damage(path)
    with pytest.raises(MapError, match="observation_descriptors does not match its checksum"):
        shared_map(path, model)


def test_a_large_map_is_used_at_once_and_its_damage_found_later(path: Path) -> None:
    model = model_of(path)
    damage(path)
    found = shared_map(path, model, verify_mib=0)
    assert found.landmark_map.landmarks > 0
    assert found.verification is not None
    assert found.verification.wait(30)
    assert found.verification.verdict == "damaged"
    assert "observation_descriptors does not match its checksum" in found.damage
    assert found.damage.startswith("no pose is published")
    with pytest.raises(MapError, match="does not match its checksum"):
        shared_map(path, model, verify_mib=0)  # nobody gets it a second time


def test_a_large_map_without_damage_is_verified(path: Path) -> None:
    found = shared_map(path, model_of(path), verify_mib=0)
    assert found.verification is not None
    assert found.verification.wait(30)
    assert (found.verification.verdict, found.damage) == ("verified", "")


def test_numbers_that_are_none_are_found_too(tmp_path: Path) -> None:
    """A checksum fits what a bad program wrote."""
    landmark_map = Scene.make(points=600).build_map(walk(12))
    path = tmp_path / "a.hfmap"
    save_map(landmark_map, path)
    loaded = map_component.load_map(path)
    xyz = loaded.landmarks_xyz.copy()
    xyz[3] = float("nan")
    object.__setattr__(loaded, "landmarks_xyz", xyz)
    verification = Verification(path, loaded, map_component.file_version(path))
    assert verification.wait(30)
    assert "landmarks_xyz holds values that are no numbers" in verification.damage


def test_a_file_that_changed_meanwhile_proves_nothing(path: Path) -> None:
    loaded, version = map_component.load_map(path), map_component.file_version(path)
    damage(path)
    os.utime(path, (1, 1))
    verification = Verification(path, loaded, version)
    assert verification.wait(30)
    assert verification.verdict == "not verified: the file has changed meanwhile"
    assert verification.damage == ""
    path.unlink()
    verification = Verification(path, loaded, version)
    assert verification.wait(30)
    assert "has changed" in verification.verdict


def test_nothing_is_verified_for_a_map_that_nobody_uses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, may_go_on, ended = threading.Event(), threading.Event(), []

    def slow(path: Path, landmark_map: object, between) -> None:  # type: ignore[no-untyped-def]
        reached.set()
        may_go_on.wait(30)
        try:
            between()
        except Exception as error:
            ended.append(type(error).__name__)
            raise

    monkeypatch.setattr(map_component, "verify_map", slow)
    found = shared_map(path, model_of(path), verify_mib=0)
    assert reached.wait(30)
    verification = found.verification
    del found
    gc.collect()
    may_go_on.set()
    assert verification is not None
    until(lambda: verification.wait(1.0), 30)
    assert ended == ["_StoppedError"]
    assert verification.verdict == "verifying"


def test_a_file_that_is_swapped_while_it_is_loaded_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, load = model_of(path), map_component.load_map

    def swaps(*args, **options):
        found = load(*args, **options)
        path.unlink()
        return found

    monkeypatch.setattr(map_component, "load_map", swaps)
    with pytest.raises(MapError, match="changes while it is read"):
        shared_map(path, model)


def test_a_pipe_in_the_place_of_a_map_holds_nothing_up(path: Path) -> None:
    model = model_of(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MapError, match=r"a\.hfmap"):
        shared_map(path, model)


def test_who_wants_another_map_does_not_wait_for_one_that_is_read(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, going, read = tmp_path / "b.hfmap", threading.Event(), map_component.load_map
    shutil.copy(path, other)
    model = model_of(path)

    def slow(file: Path, *arguments: object, **how: object) -> object:
        assert file != path or going.wait(30)
        return read(file, *arguments, **how)

    monkeypatch.setattr(map_component, "load_map", slow)
    found: list[SharedMap] = []
    loading = [threading.Thread(target=lambda: found.append(shared_map(path, model))) for _ in range(2)]
    for thread in loading:
        thread.start()
    assert shared_map(other, model).path == other  # while both wait for the first
    assert not found
    going.set()
    for thread in loading:
        thread.join(30)
    assert found[0] is found[1]


def test_a_map_that_one_maps_from_the_file_another_may_have_read(path: Path) -> None:
    model = model_of(path)
    mapped, kept = shared_map(path, model, memory_mib=0), shared_map(path, model, memory_mib=512)
    assert mapped is not kept
    assert shared_map(path, model, memory_mib=512) is kept
    assert shared_map(path, model, memory_mib=600) is kept
