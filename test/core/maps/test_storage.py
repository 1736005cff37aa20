from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from drive import INFO, drive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scene import CAMERA, Scene, looking, walk

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, HFNetError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.maps import storage, tensor_file
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.tensor_file import Pieces, write_tensors
from hfnet_core.types import Features


@pytest.fixture(scope="module")
def small_map() -> LandmarkMap:
    scene = drive(views=4, landmarks=60)
    return build_from_keyframes(Placed(scene.keyframes, "site", {"made": {"by": "a test"}}), INFO, MapBuildConfig())


@pytest.fixture(scope="module")
def saved(small_map: LandmarkMap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "a.hfmap"
    save_map(small_map, path)
    return path


def test_round_trip(small_map: LandmarkMap, saved: Path) -> None:
    found = load_map(saved, INFO.model_hash)
    for name in storage._DTYPES:
        kept, given_array = getattr(found, name), getattr(small_map, name)
        assert kept.dtype == given_array.dtype
        assert np.array_equal(kept, given_array)
        assert not kept.flags.writeable
    for name in ("cameras", "given_cameras", "keyframe_names", "frame_id", "model_hash", "pose_sigma_m"):
        assert getattr(found, name) == getattr(small_map, name)
    assert found.provenance["made"] == {"by": "a test"}


def test_look_alikes_are_kept_and_absent_where_there_are_none(small_map: LandmarkMap, tmp_path: Path) -> None:
    """A program that does not know the two arrays reads all others."""
    poses = np.array(small_map.keyframe_poses[[0, 2]])
    known = replace(small_map, alike_keyframes=np.array([0, 2], np.int32), alike_poses=poses)
    for name, landmark_map in (("with", known), ("without", small_map)):
        save_map(landmark_map, tmp_path / f"{name}.hfmap")
    found = load_map(tmp_path / "with.hfmap", verify=True)
    assert found.alike_keyframes.tolist() == [0, 2]
    assert np.array_equal(found.alike_poses, poses)
    header = (tmp_path / "without.hfmap").read_bytes()
    assert b"alike_keyframes" not in header
    assert len(load_map(tmp_path / "without.hfmap").alike_keyframes) == 0


@pytest.mark.parametrize("keyframes", [[2, 0], [0, 99], [-1, 0]])
def test_look_alikes_that_make_no_sense_are_refused(small_map: LandmarkMap, keyframes: list[int]) -> None:
    poses = np.array(small_map.keyframe_poses[[0, 2]])
    known = replace(small_map, alike_keyframes=np.array(keyframes, np.int32), alike_poses=poses)
    with pytest.raises(MapError, match="alike_keyframes"):
        known.check()


def test_any_safetensors_reader_opens_it(small_map: LandmarkMap, saved: Path) -> None:
    arrays = load_file(saved)
    assert np.array_equal(arrays["landmarks_xyz"], small_map.landmarks_xyz)


def test_arrays_are_aligned_and_mapped(saved: Path) -> None:
    found = load_map(saved)
    for name in storage._DTYPES:
        assert getattr(found, name).flags.aligned
        assert not getattr(found, name).flags.owndata


def test_another_model_is_refused_with_both_hashes(saved: Path) -> None:
    with pytest.raises(MapError) as caught:
        load_map(saved, "a" * 64)
    assert "a" * 64 in str(caught.value)
    assert INFO.model_hash in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_foreign_and_other_version(
    small_map: LandmarkMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MapError, match="no such map"):
        load_map(tmp_path / "none.hfmap")
    save_file({"x": np.zeros(3)}, tmp_path / "foreign.hfmap")
    with pytest.raises(MapError, match="is no map file"):
        load_map(tmp_path / "foreign.hfmap")
    (tmp_path / "text.hfmap").write_text("this is no map, but it is longer than a header's length")
    with pytest.raises(MapError, match="is no map file"):
        load_map(tmp_path / "text.hfmap")
    (tmp_path / "empty.hfmap").write_bytes(b"")
    with pytest.raises(MapError, match="is no map file"):
        load_map(tmp_path / "empty.hfmap")
    monkeypatch.setattr(storage, "VERSION", 99)
    save_map(small_map, tmp_path / "new.hfmap")
    monkeypatch.undo()
    with pytest.raises(MapError, match="version 99"):
        load_map(tmp_path / "new.hfmap")


def test_a_name_without_suffix_is_refused(small_map: LandmarkMap, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.hfmap"):
        save_map(small_map, tmp_path / "map.bin")


def test_a_failed_write_leaves_the_old_map_and_nothing_else(
    small_map: LandmarkMap, tmp_path: Path, monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a.hfmap"
    save_map(small_map, path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MapError, match="No space left"):
        save_map(small_map, path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.hfmap"]
    with pytest.raises(MapError, match="cannot be written"):
        save_map(small_map, tmp_path / "nowhere" / "a.hfmap")


def test_the_file_is_as_readable_as_any_new_file(saved: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_goes_unnoticed(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    original = saved.read_bytes()
    header = 8 + int.from_bytes(original[:8], "little")
    inside_header = data.draw(st.booleans())
    position = data.draw(st.integers(0, header - 1 if inside_header else len(original) - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(original)
    damaged[position] ^= flip
    path = tmp_path / "damaged.hfmap"
    path.write_bytes(damaged)
    with pytest.raises(MapError) as caught:
        load_map(path, verify=True)
    assert "\n" not in str(caught.value)
    if position < header:  # the header is checked even where arrays are not
        with pytest.raises(MapError):
            load_map(path, verify=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_truncation_goes_unnoticed(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    original = saved.read_bytes()
    path = tmp_path / "cut.hfmap"
    path.write_bytes(original[: data.draw(st.integers(0, len(original) - 1))])
    with pytest.raises(MapError):
        load_map(path, verify=False)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entry=st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "x"]), inner, max_size=3
        ),
        max_leaves=8,
    )
)  # fmt: skip
def test_no_header_crashes_the_reader(tmp_path: Path, entry: object) -> None:
    text = json.dumps({"__metadata__": {"header_sha256": "0" * 64}, "landmarks_xyz": entry}).encode()
    path = tmp_path / "made.hfmap"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(MapError):
        load_map(path)


def test_lying_sizes_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    content = {
        "__metadata__": {"format": "hfmap", "version": "1", "header_sha256": "0" * 64},
        "landmarks_xyz": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 16]},
    }
    text = json.dumps(content, separators=(",", ":")).encode()
    text = text.replace(
        b'"header_sha256":"' + b"0" * 64, b'"header_sha256":"' + hashlib.sha256(text).hexdigest().encode()
    )
    path = tmp_path / "lie.hfmap"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 16)
    with pytest.raises(MapError, match="does not fit its 16 bytes"):
        tensor_file.read_tensors(path, verify=False, accept=lambda metadata: None)


@pytest.mark.parametrize(("version", "derived"), [("1", 0), ("2", 2)])
def test_a_map_of_an_older_version_is_read(small_map: LandmarkMap, tmp_path: Path, version: str, derived: int) -> None:
    half = unit(small_map.observation_descriptors).astype(np.float16)
    old = replace(small_map, observation_descriptors=half)
    arrays = {name: getattr(old, name) for name in [*storage._DTYPES, *list(storage._DERIVED)[:derived]]}
    text = json.dumps(storage.describe(old), default=storage._plain)
    write_tensors(tmp_path / "old.hfmap", arrays, {"format": "hfmap", "version": version, "description": text})
    found = load_map(tmp_path / "old.hfmap")
    assert found.observation_descriptors.dtype == np.float16
    assert np.array_equal(found.landmark_descriptors, old.landmark_descriptors)
    assert np.array_equal(found.place_descriptors, old.place_descriptors)
    for keyframe in range(found.keyframes):
        assert np.array_equal(found.landmarks_of(keyframe), small_map.landmarks_of(keyframe))


def test_opening_derives_nothing_and_looks_at_nothing(
    small_map: LandmarkMap, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_map: LandmarkMap) -> None:
        raise AssertionError("the whole map was looked at")

    expected = np.array(small_map.landmark_descriptors)
    monkeypatch.setattr(LandmarkMap, "check", refuse)
    monkeypatch.setattr(storage, "VERIFY_UP_TO_BYTES", 0)
    found = load_map(saved)
    for name in ("landmark_descriptors", "keyframe_landmarks", "place_descriptors"):
        assert not getattr(found, name).flags.owndata  # mapped
    assert np.array_equal(found.landmark_descriptors, expected)
    with pytest.raises(AssertionError):
        load_map(saved, verify=True)


def test_what_was_stored_is_not_kept_for_another_map(saved: Path) -> None:
    found = load_map(saved)
    turned = replace(found, observation_descriptors=-np.array(found.observation_descriptors))
    assert np.array_equal(turned.landmark_descriptors, -np.array(found.landmark_descriptors))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keyframe_cameras", 1), ("observation_keyframes", -1), ("keyframe_observations", 10**9),
        ("covisible_keyframes", 99), ("landmark_offsets", -5), ("landmarks_xyz", np.nan), ("keyframe_poses", np.inf),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(small_map: LandmarkMap, tmp_path: Path, name: str, value: float) -> None:
    changed = np.array(getattr(small_map, name))
    changed.reshape(-1)[len(changed) // 2] = value
    broken = replace(small_map, **{name: changed})
    with pytest.raises(MapError, match=name):
        save_map(broken, tmp_path / "b.hfmap")
    assert not list(tmp_path.iterdir())


def test_pieces_make_the_same_file(tmp_path: Path) -> None:
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    other = np.arange(5, dtype=np.int64)
    write_tensors(tmp_path / "whole", {"a": rows, "b": other}, {"x": "y"})
    pieces = Pieces(rows.dtype, rows.shape, (rows[start : start + 7] for start in range(0, 20, 7)))
    write_tensors(tmp_path / "pieces", {"a": pieces, "b": other}, {"x": "y"})
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()
    with pytest.raises(ValueError, match="pieces of 228 bytes"):
        write_tensors(tmp_path / "short", {"a": Pieces(rows.dtype, rows.shape, [rows[1:]])}, {})
    assert sorted(item.name for item in tmp_path.iterdir()) == ["pieces", "whole"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_map_that_was_not_verified_crashes_nothing(room: Room, tmp_path: Path, data: st.DataObject) -> None:
    """Large maps are opened without their checksums; a query then gives an answer or an error of ours."""
    original = room.file.read_bytes()
    arrays = list(storage._DTYPES) + list(storage._DERIVED)
    begin, end = room.places[data.draw(st.sampled_from(arrays))]
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 30))):
        damaged[data.draw(st.integers(begin, end - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.hfmap"
    path.write_bytes(damaged)
    try:
        localizer = Localizer(load_map(path, verify=False))
        localizer.localize([View(room.features, CAMERA)])
        localizer.localize([View(room.features, CAMERA)], room.pose)
    except MapError as error:
        assert "\n" not in str(error)


class Room(NamedTuple):
    """A map file, where its arrays lie in it, and a query."""

    file: Path
    places: dict[str, tuple[int, int]]
    features: Features
    pose: Pose


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    scene = Scene.make(points=2500)
    pose = looking(0.3, 0.2, 40)
    path = tmp_path_factory.mktemp("room") / "room.hfmap"
    save_map(scene.build_map(walk(16)), path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    del header["__metadata__"]
    places = {name: tuple(start + offset for offset in entry["data_offsets"]) for name, entry in header.items()}
    return Room(path, places, scene.view(pose, seed=5)[0], pose)


def test_map_errors_are_expected_errors() -> None:
    assert issubclass(MapError, HFNetError)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("scale_factors", np.ones((2, 1), np.float32)),
        ("scale_factors", np.float32(2.0)),
        ("alike_keyframes", np.zeros((1, 1), np.int32)),
        ("observation_keyframes", np.int32(0)),
        ("landmark_misses", np.zeros(0, np.int32)),
    ],
)
def test_arrays_of_other_shapes_are_refused(
    small_map: LandmarkMap, tmp_path: Path, name: str, values: np.ndarray
) -> None:
    counted = replace(
        small_map, **dict.fromkeys(("landmark_hits", "landmark_misses"), np.ones(60, np.int32)[: small_map.landmarks])
    )
    path = tmp_path / "a.hfmap"
    save_map(counted, path)
    stored = tensor_file.read_tensors(path, verify=True, accept=lambda metadata: None, in_memory=True)
    extra = {"scaled_descriptors": np.zeros((0, 0, 0), np.int8), "alike_poses": np.zeros((0, 3, 4))}
    extra |= {"scale_factors": np.zeros(0, np.float32), "alike_keyframes": np.zeros(0, np.int32)}
    write_tensors(path, {**extra, **stored.arrays, name: np.asarray(values)}, stored.metadata)
    with pytest.raises(MapError, match=name):
        load_map(path)


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.hfmap")
    with pytest.raises(MapError, match="is no regular file"):
        tensor_file.read_tensors(tmp_path / "a.hfmap", verify=True, accept=lambda metadata: None)
