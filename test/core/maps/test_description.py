"""What a map says beside its arrays: each number and text is checked once, where it enters."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drive import INFO, drive

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.maps import storage
from hfnet_core.maps.description import parse_json
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map, verify_map
from hfnet_core.maps.tensor_file import write_tensors


@pytest.fixture(scope="module")
def small_map() -> LandmarkMap:
    scene = drive(views=4, landmarks=60)
    return build_from_keyframes(Placed(scene.keyframes, "site", {"made": {"by": "a test"}}), INFO, MapBuildConfig())


def written(landmark_map: LandmarkMap, path: Path, text: str, **arrays: Any) -> Path:
    """A map file with another description, whose checksums are right."""
    known = {name: getattr(landmark_map, name) for name in [*storage._DTYPES, *storage._DERIVED]}
    metadata = {"format": storage.FORMAT, "version": str(storage.VERSION), "description": text}
    write_tensors(path, {**known, **arrays}, metadata)
    return path


def described(landmark_map: LandmarkMap, **changes: Any) -> str:
    known = json.loads(json.dumps(storage.describe(landmark_map), default=storage._plain))
    for name, value in changes.items():
        (known["cameras"][0] if name in known["cameras"][0] else known)[name] = value
    return json.dumps(known)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": float("inf")}, "camera 0 of the map is damaged"),
        ({"width": 640.0}, "camera 0 of the map is damaged"),
        ({"width": True}, "camera 0 of the map is damaged"),
        ({"width": 10**5, "height": 10**5}, "more than the limit of 128 megapixels, raised by HFNET_MAX_IMAGE_MPX"),
        ({"width": -1}, "not positive"),
        ({"params": "1234"}, "camera 0 of the map is damaged"),
        ({"model": "SIMPLE_PINHOLE", "params": [1e300, 1.0, 1.0]}, "focal length"),
        ({"model": "SIMPLE_PINHOLE", "params": [float("nan"), 1.0, 1.0]}, "focal length"),
        ({"params": [10**400, 500.0, 1.0, 1.0]}, "camera 0 of the map is damaged"),
        ({"cameras": None}, "no list of cameras"),
        ({"cameras": [3]}, "camera 0 of the map is damaged"),
        ({"pose_sigma_m": float("nan")}, "pose_sigma_m nan is not between 0 and 1000"),
        ({"pose_sigma_m": 1e300}, r"pose_sigma_m 1e\+300 is not between"),
        ({"pose_sigma_m": -1.0}, "pose_sigma_m -1.0 is not between"),
        ({"pose_sigma_rad": 10**400}, "pose_sigma_rad 1000+ is not between"),
        ({"pose_sigma_rad": "0.1"}, "pose_sigma_rad 0.1 is not between"),
        ({"model_hash": "f" * 63 + "\u00e9"}, "model_hash is no SHA-256"),
        ({"model_hash": ["f"] * 64}, "model_hash is no SHA-256"),
        ({"provenance": None}, "no table of provenance"),
        ({"provenance": {"statistics": 3}}, "provenance is damaged"),
        ({"provenance": {"loop_closures": [1]}}, "provenance is damaged"),
        ({"provenance": {"recordings": [{}, None]}}, "provenance is damaged"),
        ({"provenance": {"history": 7}}, "provenance is damaged"),
        ({"provenance": {"structure": {"left_out": 1}}}, "provenance is damaged"),
        ({"provenance": {"scale": {"metres": 1}}}, "provenance is damaged"),
        ({"frame_id": ""}, "frame_id is no text of 1 to 255 characters"),
        ({"frame_id": "m" * 256}, "frame_id is no text of 1 to 255 characters"),
        ({"frame_id": "map\x1b[2J"}, "control characters"),
        ({"frame_id": "map\0"}, "control characters"),
        ({"frame_id": "map\ud800"}, "half a character"),
        ({"keyframe_names": ["a", "b", "c", "\udc80"]}, "half a character"),
        ({"keyframe_names": [1, 2, 3, 4]}, "a keyframe's name is no text"),
        ({"keyframe_names": ["a", "b", "c", "d" * 5000]}, "longer than 4096"),
        ({"provenance": {"deep": {"er": ["\udfff"]}}}, "half a character"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_map_error_of_one_line(
    small_map: LandmarkMap, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = written(small_map, tmp_path / "a.hfmap", described(small_map, **changes))
    with pytest.raises(MapError, match=said) as caught:
        load_map(path)
    assert "\n" not in str(caught.value)
    str(caught.value).encode("utf-8")  # a log can write it


def test_the_same_file_without_a_change_is_read(small_map: LandmarkMap, tmp_path: Path) -> None:
    again = load_map(written(small_map, tmp_path / "a.hfmap", described(small_map)))
    assert again.provenance["made"] == {"by": "a test"}


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100 + "]" * 100, '{"a":' * 100 + "1" + "}" * 100, "1" * 5000])
def test_deep_or_endless_json_is_refused(small_map: LandmarkMap, tmp_path: Path, text: str) -> None:
    with pytest.raises(MapError, match="description"):
        load_map(written(small_map, tmp_path / "a.hfmap", text))


def test_characters_beyond_the_basic_plane_are_no_half_ones() -> None:
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"
    with pytest.raises(ValueError, match="half a character"):
        parse_json('"\\ud83d"')


def test_a_description_that_could_not_be_read_is_not_written(small_map: LandmarkMap, tmp_path: Path) -> None:
    with pytest.raises(MapError, match="frame_id"):
        save_map(replace(small_map, frame_id=""), tmp_path / "a.hfmap")
    assert not list(tmp_path.iterdir())


def test_an_array_of_a_hundred_dimensions_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.hfmap", {"x": np.zeros((1,) * 9)}, {"format": "hfmap", "version": "3"})
    with pytest.raises(MapError, match="'x' has 9 dimensions"):
        load_map(tmp_path / "a.hfmap")


def test_a_header_over_the_limit_is_not_read(
    small_map: LandmarkMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(small_map, tmp_path / "a.hfmap", described(small_map, provenance={"said": "x" * 2_000_000}))
    assert len(load_map(path).provenance["said"]) == 2_000_000
    monkeypatch.setenv("HFNET_MAX_MAP_HEADER_MB", "1")
    with pytest.raises(MapError, match="more than the limit of 1 MB, raised by HFNET_MAX_MAP_HEADER_MB"):
        load_map(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("keyframe_cameras", 1), ("keyframe_cameras", -7), ("observation_keyframes", 10**6),
        ("keyframe_observations", 2**40), ("covisible_keyframes", 99), ("covisible_weights", -2),
        ("keyframe_landmarks", 2**30), ("keyframe_poses", np.nan), ("keyframe_poses", 1e300),
        ("keyframe_poses", 0.9), ("landmark_offsets", 2**50), ("keyframe_offsets", -1),
    ],
)  # fmt: skip
def test_a_large_map_is_not_hashed_but_its_indices_and_poses_are_looked_at(
    small_map: LandmarkMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(storage, "VERIFY_UP_TO_BYTES", 0)
    changed = np.array(getattr(small_map, name))
    changed.reshape(-1)[len(changed.reshape(-1)) // 2] = value
    path = written(small_map, tmp_path / "a.hfmap", described(small_map), **{name: changed})
    with pytest.raises(MapError, match=name):
        load_map(path)


def test_poses_that_are_mirrored_or_flat_are_refused(small_map: LandmarkMap, tmp_path: Path) -> None:
    for broken in (-np.eye(3), np.zeros((3, 3)), np.diag([1.0, 1.0, 2.0])):
        poses = np.array(small_map.keyframe_poses)
        poses[1, :, :3] = broken
        path = written(small_map, tmp_path / "a.hfmap", described(small_map), keyframe_poses=poses)
        with pytest.raises(MapError, match="no rotations"):
            load_map(path, verify=False)


def test_damage_in_a_large_map_that_opens_is_found_later(
    small_map: LandmarkMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "VERIFY_UP_TO_BYTES", 0)
    path = tmp_path / "a.hfmap"
    save_map(small_map, path)
    verify_map(path, load_map(path))
    content = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", content[:8])[0]
    place = json.loads(content[8:start])["observation_px"]["data_offsets"][0]
    content[start + place] ^= 1
    path.write_bytes(content)
    opened = load_map(path)
    with pytest.raises(MapError, match="observation_px does not match its checksum"):
        verify_map(path, opened)


def test_a_header_whose_hash_is_no_ascii_is_refused(small_map: LandmarkMap, tmp_path: Path) -> None:
    content = written(small_map, tmp_path / "a.hfmap", described(small_map)).read_bytes()
    at = content.index(b'"header_sha256":"') + len(b'"header_sha256":"')
    path = tmp_path / "b.hfmap"
    path.write_bytes(content[:at] + "é".encode() * 32 + content[at + 64 :])
    with pytest.raises(MapError, match="is no map file"):
        load_map(path)
