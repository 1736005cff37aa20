"""Images as they come give the map that their recording gives."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import cv2
import numpy as np
import pytest
from bags import wall_drive
from corners import Corners

from hfnet_core.cli.main import main
from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.images.depth import DepthImage
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.reading import BuildTools, ReadingPlan, read_keyframes
from hfnet_core.mapping.keyframes.selection import FrameSummary, select_keyframes, sharpness
from hfnet_core.mapping.live.drive_folder import DriveFolder, is_drive_folder
from hfnet_core.mapping.live.growing import MOST
from hfnet_core.mapping.live.mapper import LiveFrame, LiveMapper, LiveSource
from hfnet_core.mapping.live.solver_process import GrowingProcess, Solved, SolverProcess, can_solve
from hfnet_core.mapping.live.solving import build_from_drive, frame_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.tensor_file import read_tensors, write_tensors
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions

CONFIG = MapBuildConfig(refine_intrinsics=False)
SOURCE = LiveSource("/camera/image", poses="/odom", frame="map")
ARRAYS = ("keyframe_poses", "landmarks_xyz", "observation_keyframes", "observation_px", "observation_descriptors")


def frames_of(bag: Path) -> list[LiveFrame]:
    with Bag(bag, BagOptions(camera_optional=True)) as opened:
        return [
            LiveFrame(0, "camera", frame.image, frame.stamp_ns, frame.camera, frame.map_from_camera)
            for frame in opened.frames()
        ]


def record(
    path: Path,
    frames: Sequence[LiveFrame],
    mode: str,
    config: MapBuildConfig = CONFIG,
    describer: Corners | None = None,
) -> DriveFolder:
    """Drive once, from the beginning to the end."""
    folder, describer = DriveFolder(path), describer or Corners()
    with folder.recording(describer.info, config):
        mapper = LiveMapper(folder, describer, config, mode, [SOURCE])
        for frame in frames:
            mapper.add([frame])
        mapper.finish()
        assert mapper.keyframes == folder.count()
    return folder


def assert_same(live: LandmarkMap, offline: LandmarkMap) -> None:
    assert live.keyframe_names == offline.keyframe_names
    for name in ARRAYS:
        assert np.array_equal(getattr(live, name), getattr(offline, name)), name


@pytest.fixture
def drifting(tmp_path: Path) -> Path:
    return wall_drive(tmp_path / "bag", frames=24, odometry_in="odom")


def test_a_drive_with_odometry_gives_the_map_of_its_recording(drifting: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    live, offline = build_from_drive(folder), build_map([drifting], Corners(), CONFIG)
    assert live.landmarks > 20
    assert_same(live, offline)
    told, expected = live.provenance["recordings"][0], offline.provenance["recordings"][0]
    for name in ("keyframes", "camera_frame", "first_stamp_ns", "last_stamp_ns"):
        assert told[name] == expected[name]
    assert live.provenance["pose_mode"] == "drifting"
    assert live.frame_id == offline.frame_id == "map"


def test_a_drive_with_given_poses_gives_the_map_of_its_recording(tmp_path: Path) -> None:
    bag = wall_drive(tmp_path / "bag", frames=12)
    config = replace(CONFIG, keyframe_distance_m=0.3)
    folder = record(tmp_path / "a.hfdrive", frames_of(bag), "given", config)
    offline = build_map([bag], Corners(), config)
    assert offline.keyframes == 6
    assert_same(build_from_drive(folder), offline)


def test_images_alone_choose_the_keyframes_of_their_recording(tmp_path: Path) -> None:
    bag = wall_drive(tmp_path / "bag", frames=70)
    config = MapBuildConfig(pose_mode="images", scale_free=True, keyframe_motion=0.15)
    frames = [replace(frame, pose=None) for frame in frames_of(bag)]
    folder = record(tmp_path / "a.hfdrive", frames, "images", config)
    with Bag(bag, BagOptions(poses_wanted=False)) as opened:
        offline = read_keyframes(opened, ReadingPlan(0, from_images=True, drive=0), BuildTools(Corners(), config))
    recorded = [item.keyframe for item in folder.keyframes()]
    assert 20 < len(recorded) < 60
    assert [item.name for item in recorded] == [item.name for item in offline.keyframes]
    assert [item.key for item in recorded] == [item.key for item in offline.keyframes]
    assert {item.odometry_from_camera for item in recorded} == {None}


def test_images_of_a_rig_are_taken_together(tmp_path: Path) -> None:
    config = MapBuildConfig(pose_mode="images", keyframe_motion=0.15)
    frames = [replace(frame, pose=None) for frame in frames_of(wall_drive(tmp_path / "bag", frames=40))]
    places = (Pose(), Pose(np.eye(3), np.array([0.08, 0.0, 0.0])))
    folder = DriveFolder(tmp_path / "a.hfdrive")
    with folder.recording(Corners().info, config):
        mapper = LiveMapper(folder, Corners(), config, "images", [SOURCE, LiveSource("/right/image")])
        for frame in frames:
            mapper.add([replace(frame, camera_number=number, rig_from_camera=places[number]) for number in (1, 0)])
        mapper.finish()
    stamps: dict[int, list[int]] = {}
    for item in folder.keyframes():
        stamps.setdefault(item.keyframe.recording, []).append(item.keyframe.stamp_ns)
        assert item.keyframe.rig_from_camera is not None
        assert np.allclose(item.keyframe.rig_from_camera.translation, places[item.keyframe.recording].translation)
    assert len(stamps[0]) > 10
    assert stamps[0] == stamps[1]


def test_a_rig_whose_leading_camera_is_silent_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = MapBuildConfig(pose_mode="images", keyframe_motion=0.15)
    frames = [replace(frame, pose=None) for frame in frames_of(wall_drive(tmp_path / "bag", frames=6))]
    folder = DriveFolder(tmp_path / "a.hfdrive")
    with folder.recording(Corners().info, config):
        mapper = LiveMapper(folder, Corners(), config, "images", [SOURCE, LiveSource("/right/image")])
        for frame in frames:
            assert not mapper.add([replace(frame, camera_number=1)])
    assert caplog.text.count("/camera/image is silent: it decides for all cameras") == 1


def test_of_cameras_without_a_common_trigger_each_is_taken_by_its_own_motion(tmp_path: Path) -> None:
    """As of their recordings, where no image of one is taken at the time of another's."""
    bag = wall_drive(tmp_path / "bag", frames=70)
    config = MapBuildConfig(pose_mode="images", scale_free=True, keyframe_motion=0.15)
    left = [replace(frame, pose=None) for frame in frames_of(bag)]
    right = [replace(item, camera_number=1, stamp_ns=item.stamp_ns + 40_000_000) for item in reversed(left)]
    folder = DriveFolder(tmp_path / "a.hfdrive")
    with folder.recording(Corners().info, config):
        mapper = LiveMapper(folder, Corners(), config, "images", [SOURCE, LiveSource("/right/image")], together=False)
        for frames in zip(left, right, strict=True):
            for frame in frames:
                mapper.add([frame])
        mapper.finish()
    with Bag(bag, BagOptions(poses_wanted=False)) as opened:
        offline = read_keyframes(opened, ReadingPlan(0, from_images=True, drive=0), BuildTools(Corners(), config))
    recorded = [[item.keyframe for item in folder.keyframes() if item.keyframe.recording == own] for own in range(2)]
    assert [item.name for item in recorded[0]] == [item.name for item in offline.keyframes]
    assert len(recorded[1]) > 20
    assert [item.name for item in recorded[1]] != [item.name.replace("0/", "1/") for item in recorded[0]]


def test_who_was_killed_goes_on_where_he_was(drifting: Path, tmp_path: Path) -> None:
    """After a moment the odometry is that of before; the keyframes not written yet are all that is lost."""
    frames = frames_of(drifting)
    path = tmp_path / "a.hfdrive"
    folder, describer = DriveFolder(path), Corners()
    with folder.recording(describer.info, CONFIG):
        mapper = LiveMapper(folder, describer, CONFIG, "drifting", [SOURCE])
        for frame in frames[:20]:
            mapper.add([frame])
    assert mapper.begins_map
    written = folder.count()
    assert written >= 20 - 17  # an image is decided upon 16 images later
    with folder.recording(describer.info, CONFIG):
        again = LiveMapper(folder, describer, CONFIG, "drifting", [SOURCE])
        again.add([frames[20]])
        assert not again.begins_map  # odometry has drifted before
        assert again.drive == 0
    (path / "keyframe-000-000000099").write_bytes(b"half a keyfr")  # as no crash of ours leaves it
    folder = record(path, frames[20:], "drifting")
    names = [item.keyframe.name for item in folder.keyframes()]
    assert len(names) == len(set(names)) >= written + 4
    assert {name.partition("/")[0] for name in names} == {"0"}
    assert list(folder.sources()) == [0]
    built = build_from_drive(folder)
    assert built.keyframes == len(names)


def test_a_stretch_that_nothing_joins_is_left_out_until_something_does(
    drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = frames_of(drifting)
    path = tmp_path / "a.hfdrive"
    record(path, frames[:10], "drifting")
    whole = build_from_drive(DriveFolder(path))
    moved = Pose(np.eye(3), np.array([50.0, 0.0, 0.0]))  # the odometry began elsewhere, hours later
    elsewhere = [
        replace(frame, pose=moved @ (frame.pose or Pose()), stamp_ns=frame.stamp_ns + 10**13, image=255 - frame.image)
        for frame in frames[16:]
    ]
    folder = record(path, elsewhere, "drifting")
    assert [source.drive for source in folder.sources().values()] == [0, 1]
    assert_same(build_from_drive(folder), whole)
    assert "left out until something joins it" in caplog.text


def test_odometry_that_begins_anew_is_another_stretch(
    drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its driver was started again: the way from the last image before to the first one after is not known."""
    frames = frames_of(drifting)
    away = Pose(np.eye(3), np.array([-20.0, 3.0, 0.0]))
    anew = [replace(frame, pose=away @ (frame.pose or Pose())) for frame in frames[12:]]
    folder = record(tmp_path / "a.hfdrive", [*frames[:12], *anew], "drifting")
    assert "odometry has jumped" in caplog.text
    drives = [item.keyframe.drive for item in folder.keyframes()]
    assert set(drives) == {0, 1}
    assert sorted(drives) == drives
    built = build_from_drive(folder)  # all these images look alike as a whole, so that no closure joins them
    assert built.keyframes == drives.count(0)
    assert_same(built, build_from_drive(record(tmp_path / "b.hfdrive", frames[:12], "drifting")))


def test_odometry_that_begins_anew_is_noticed_though_cameras_alternate(drifting: Path, tmp_path: Path) -> None:
    frames = frames_of(drifting)
    away = Pose(np.eye(3), np.array([-20.0, 3.0, 0.0]))
    anew = [replace(frame, pose=away @ (frame.pose or Pose())) for frame in frames[12:]]
    alternating = [replace(frame, camera_number=index % 2) for index, frame in enumerate([*frames[:12], *anew])]
    folder, describer = DriveFolder(tmp_path / "a.hfdrive"), Corners()
    with folder.recording(describer.info, CONFIG):
        sources = [SOURCE, replace(SOURCE, image_topic="/other/image")]
        mapper = LiveMapper(folder, describer, CONFIG, "drifting", sources)
        for frame in alternating:
            mapper.add([frame])
        mapper.finish()
    drives = [item.keyframe.drive for item in folder.keyframes()]
    assert set(drives) == {0, 1}
    assert sorted(drives) == drives


def test_a_folder_belongs_to_one_recorder_one_model_and_one_mode(drifting: Path, tmp_path: Path) -> None:
    frames = frames_of(drifting)[:4]
    folder = record(tmp_path / "a.hfdrive", frames, "drifting")
    assert is_drive_folder(folder.path)
    with folder.recording(Corners().info, CONFIG):
        with pytest.raises(ConfigError, match="another node records there"), folder.recording(Corners().info, CONFIG):
            pass
        with pytest.raises(ConfigError, match=r"recorded with poses drifting .* now they are images"):
            LiveMapper(folder, Corners(), CONFIG, "images", [SOURCE])
    other = Corners()
    other.info.model_hash = "d" * 64
    try:
        with pytest.raises(ConfigError, match="was recorded with model corners"), folder.recording(other.info, CONFIG):
            pass
    finally:
        other.info.model_hash = "c" * 64
    (folder.path / "drive.json").write_text("{")
    with pytest.raises(DatasetError, match=r"drive\.json: is damaged"):
        DriveFolder(folder.path)
    (folder.path / "drive.json").write_text(
        json.dumps({"format": "hfdrive", "version": 9, "model": {}, "settings": {}})
    )
    with pytest.raises(DatasetError, match="is of another version"):
        DriveFolder(folder.path)


def test_a_drive_folder_is_built_on_the_command_line(
    drifting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on another computer, where no model is needed: features are there. Options overrule the node's settings."""
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    output = tmp_path / "a.hfmap"
    monkeypatch.setattr("sys.argv", ["hfnet", "map", "build", str(folder.path), "-o", str(output), "--no-refine"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    assert_same(load_map(output), build_from_drive(folder, replace(CONFIG, refine_poses=False)))


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        (["--multi-scale"], "--multi-scale: too late for"),
        (["--keyframe-distance-m", "0.7", "--image-topic", "x"], "--keyframe-distance-m"),
        (["b.hfdrive"], "is built alone; build each, then join them with `hfnet map merge`"),
    ],
)
def test_what_is_too_late_for_a_drive_folder_is_refused(
    drifting: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    refusal: str,
) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    options = [str(tmp_path / item) if item.endswith(".hfdrive") else item for item in options]
    command = ["hfnet", "map", "build", str(folder.path), *options, "-o", str(tmp_path / "a.hfmap")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert refusal in " ".join(capsys.readouterr().err.split())


def test_an_option_equal_to_its_default_overrules_what_the_node_had(
    drifting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting", replace(CONFIG, refine_poses=False))
    command = ["hfnet", "map", "build", str(folder.path), "-o", str(tmp_path / "a.hfmap")]
    for options, refined in (([], False), (["--refine"], True)):
        monkeypatch.setattr("sys.argv", [*command, *options])
        with pytest.raises(SystemExit):
            main()
        told = load_map(tmp_path / "a.hfmap").provenance["settings"]
        assert told["refine_poses"] is refined


def test_a_damaged_keyframe_is_left_out(drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    count = folder.count()
    first, second = sorted(folder.path.glob("keyframe-*"))[3:5]
    first.write_bytes(first.read_bytes()[:-3])
    key = next(item.keyframe.key for item in folder.keyframes() if item.keyframe.name.endswith(second.name[-6:]))
    (folder.path / f"features-{key}").unlink()
    assert len(list(folder.keyframes())) == count - 2
    assert "its features are missing or damaged" in caplog.text
    assert build_from_drive(folder).keyframes == count - 2
    with pytest.raises(DatasetError, match="has no keyframes yet"):
        build_from_drive(record(tmp_path / "empty.hfdrive", [], "drifting"))


def change_keyframe(path: Path, told: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
    """A keyframe's file with other values, and checksums that fit."""
    file = read_tensors(path, verify=True, accept=lambda metadata: None, in_memory=True)
    values = {**json.loads(file.metadata["keyframe"]), **told}
    write_tensors(path, {**file.arrays, **arrays}, {"keyframe": json.dumps(values)})


@pytest.mark.parametrize(
    ("told", "arrays"),
    [
        ({"key": "../../elsewhere"}, {}),
        ({"stamp_ns": 2**70}, {}),
        ({"stamp_ns": float("nan")}, {}),
        ({"images": -1}, {}),
        ({"name": None}, {}),
        ({"camera": {"model": "PINHOLE"}}, {}),
        ({}, {"map_from_camera": np.zeros(12)}),
        ({}, {"map_from_camera": np.eye(3, 4) * 2.0}),
        ({}, {"map_from_camera": np.full((3, 4), np.nan)}),
        ({}, {"range_m": np.zeros(3, np.float32), "range_sigma_m": np.zeros(3, np.float32)}),
    ],
)
def test_a_keyframe_that_somebody_has_changed_is_left_out(
    drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, told: dict, arrays: dict
) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    path = sorted(folder.path.glob("keyframe-*"))[1]
    change_keyframe(path, told, arrays)
    assert len(list(folder.keyframes())) == folder.count() - 1
    assert f"{path} is left out" in caplog.text


@pytest.mark.parametrize(
    "told",
    [{"recording": [0]}, {"drive": -1}, {"frame": ["map"]}, {"mode": "strange"}, {"strange": 1}, {"camera": None}],
)
def test_a_recording_that_somebody_has_changed_is_named(drifting: Path, tmp_path: Path, told: dict) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting)[:4], "drifting")
    path = folder.path / "source-000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **told}))
    with pytest.raises(DatasetError, match=r"source-000\.json: is damaged"):
        build_from_drive(folder)


def test_what_is_named_like_a_keyframe_and_is_none_does_not_matter(drifting: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting)[:6], "drifting")
    count, names = folder.count(), folder.names([0])
    for name in ("keyframe-000-", "keyframe-000-x", "keyframe-000-1-2", "keyframe-000-000000001.bak"):
        (folder.path / name).write_text("")
    assert folder.count() == count == len(list(folder.keyframes()))
    assert folder.names([0]) == names
    assert folder.some(["0/../../elsewhere", "x", "", *names[:1]])[0].name == names[0]
    assert folder.odometry_at("../0") is None


def test_depths_that_are_no_distances_leave_their_keyframe_out(drifting: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    keypoints = len(next(folder.keyframes()).keyframe.features)
    sound, wrong = np.ones(keypoints, np.float32), np.zeros(keypoints, np.float32)
    path = sorted(folder.path.glob("keyframe-*"))[0]
    for metres, sigmas, kept in ((sound, sound, True), (sound * np.nan, wrong, True), (sound, wrong, False)):
        change_keyframe(path, {}, {"range_m": metres, "range_sigma_m": sigmas})
        assert (len(list(folder.keyframes())) == folder.count()) == kept
    change_keyframe(path, {}, {"range_m": -sound, "range_sigma_m": sound})
    assert len(list(folder.keyframes())) == folder.count() - 1


def test_keyframes_described_in_another_way_are_left_out(
    drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    last = list(folder.keyframes())[-1].keyframe
    folder.workspace.store_features(last.key, replace(last.features, global_descriptor=np.ones(5, np.float32)))
    assert len(list(folder.keyframes())) == folder.count() - 1
    assert "its descriptors have" in caplog.text


def test_depth_is_recorded_with_the_keyframes(drifting: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wall, wrong = DepthImage(np.full((60, 80), 2.0, np.float32)), DepthImage(np.full((80, 60), 2.0, np.float32))
    told = {1: None, 2: wrong}
    frames = [
        replace(frame, depth=lambda index=index: told.get(index, wall))  # type: ignore[misc]
        for index, frame in enumerate(frames_of(drifting))
    ]
    folder = record(tmp_path / "a.hfdrive", frames, "drifting")
    ranges = [item.keyframe.ranges for item in folder.keyframes()]
    assert [own is None for own in ranges[:4]] == [False, True, True, False]
    assert "is not registered to images of 160x120" in caplog.text
    first = next(folder.keyframes()).keyframe
    assert ranges[0] is not None
    assert ranges[0].metres.shape == (len(first.features),)
    assert np.nanmax(np.abs(ranges[0].metres - 2.0)) < 1e-3
    built = build_from_drive(folder)
    assert built.provenance["recordings"][0]["keyframes_with_depth"] == len(ranges) - 2


def test_depth_that_comes_after_a_keyframe_was_recorded_is_added_to_it(drifting: Path, tmp_path: Path) -> None:
    wall, asked = DepthImage(np.full((60, 80), 2.0, np.float32)), [0] * 24

    def late(index: int) -> DepthImage | None:
        asked[index] += 1
        return wall if asked[index] > 1 else None

    frames = [
        replace(frame, depth=lambda index=index: late(index))  # type: ignore[misc]
        for index, frame in enumerate(frames_of(drifting))
    ]
    folder = record(tmp_path / "a.hfdrive", frames, "drifting")
    ranges = [item.keyframe.ranges for item in folder.keyframes()]
    assert all(own is not None for own in ranges[:-3])
    assert max(asked) == 2


def test_a_keyframe_is_on_disk_soon_and_taken_back_where_the_next_images_say_so(tmp_path: Path) -> None:
    """Blurred images among sharp ones: what is recorded in the end is what the recording gives."""
    rng = np.random.default_rng(2)
    frames = frames_of(wall_drive(tmp_path / "bag", frames=60, odometry_in="odom"))
    for index in np.flatnonzero(rng.random(60) < 0.4).tolist():
        size = int(rng.integers(3, 12)) * 2 + 1
        frames[index] = replace(frames[index], image=cv2.GaussianBlur(frames[index].image, (size, size), 0))
    config = replace(CONFIG, keyframe_distance_m=0.3)
    folder, describer, late_s, seen = DriveFolder(tmp_path / "a.hfdrive"), Corners(), [], set()
    with folder.recording(describer.info, config):
        mapper = LiveMapper(folder, describer, config, "drifting", [SOURCE])
        for frame in frames:
            late_s += [(frame.stamp_ns - keyframe.stamp_ns) * 1e-9 for keyframe in mapper.add([frame])]
            seen.update(folder.names([0]))
            assert mapper.keyframes == folder.count()
        mapper.finish()
    told = [FrameSummary(i, frame.pose or Pose(), sharpness(frame.image)) for i, frame in enumerate(frames)]
    chosen = [f"0/{index:06d}" for index in select_keyframes(told, 0.3, 7.0)]
    assert folder.names([0]) == chosen
    assert [item.keyframe.name for item in folder.keyframes()] == chosen
    assert seen > set(chosen)  # some were taken back
    assert len(seen) < 1.3 * len(chosen)
    assert np.median(late_s) < 0.35  # not the 1.6 s until it is decided upon


def test_a_version_has_no_keyframe_that_was_taken_back(drifting: Path, tmp_path: Path) -> None:
    folder, path = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting"), tmp_path / "a.hfmap"
    save_map(build_from_drive(folder), path)
    last = list(folder.keyframes())[-1].keyframe
    folder.take_back(last)
    assert last.name in load_map(path).keyframe_names
    process = SolverProcess(folder.path, path)
    found = next(filter(None, (process.poll() for _ in until(process))))
    assert not found.error
    assert list(load_map(path).keyframe_names) == folder.names([0])


def test_two_cameras_with_odometry_give_the_keyframes_of_each(drifting: Path, tmp_path: Path) -> None:
    frames = frames_of(drifting)
    folder, describer = DriveFolder(tmp_path / "a.hfdrive"), Corners()
    beside = Pose(np.eye(3), np.array([0.08, 0.0, 0.0]))
    other = LiveSource("/right/image", poses="/odom")
    with folder.recording(describer.info, CONFIG):
        mapper = LiveMapper(folder, describer, CONFIG, "drifting", [SOURCE, other])
        for frame in frames:
            right = replace(frame, camera_number=1, frame_id="right", pose=(frame.pose or Pose()) @ beside)
            mapper.add([frame, right] if frame.stamp_ns % 3 else [right])  # one of them is covered now and then
        mapper.finish()
    sources = folder.sources()
    assert [(source.camera_frame, source.drive) for source in sources.values()] == [("camera", 0), ("right", 0)]
    drives = {(item.keyframe.recording, item.keyframe.drive) for item in folder.keyframes()}
    assert drives == {(0, 0), (1, 0)}


def test_the_frame_of_images_alone_is_known_from_the_version_before(drifting: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    built = build_from_drive(folder)
    path = tmp_path / "a.hfmap"
    assert frame_of(path, folder) == {}
    save_map(built, path)
    assert frame_of(path, folder) == {}  # odometry says what the frame is
    save_map(replace(built, provenance={**built.provenance, "pose_mode": "images"}), path)
    before = frame_of(path, folder)
    assert list(before) == list(built.keyframe_names)
    assert np.allclose(before["0/000000"].matrix(), built.map_from_camera(0).matrix())
    assert frame_of(path, record(tmp_path / "other.hfdrive", [], "drifting")) == {}
    assert folder.has_some_of(load_map(path))
    assert not DriveFolder(tmp_path / "other.hfdrive").has_some_of(load_map(path))


def until(process: SolverProcess, seconds: float = 60.0) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)


def test_a_process_of_its_own_writes_the_map(drifting: Path, tmp_path: Path) -> None:
    if not can_solve():
        pytest.skip("pycolmap is not installed")
    folder, output = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting"), tmp_path / "a.hfmap"
    process = SolverProcess(folder.path, output)
    found = next(filter(None, (process.poll() for _ in until(process))))
    assert found.error == ""
    assert found.keyframes == folder.count()
    assert found.landmarks == load_map(output).landmarks
    assert 0 < process.cpu_s < 60
    save_map(build_from_drive(folder), tmp_path / "b.hfmap")
    assert output.read_bytes() == (tmp_path / "b.hfmap").read_bytes()
    process = SolverProcess(tmp_path / "none", tmp_path / "c.hfmap")
    found = next(filter(None, (process.poll() for _ in until(process))))
    assert found.error == f"{tmp_path / 'none'}: nothing was recorded there"
    assert not (tmp_path / "c.hfmap").exists()


def test_another_process_adds_keyframes_whenever_it_is_asked(drifting: Path, tmp_path: Path) -> None:
    frames, output = frames_of(drifting), tmp_path / "a.hfmap"
    folder = record(tmp_path / "a.hfdrive", frames[: len(frames) // 2], "drifting")
    process = GrowingProcess(folder.path, output)

    def asked() -> Solved:
        process.begin()
        while (found := process.poll()) is None:
            time.sleep(0.05)
        return found

    try:
        first = asked()
        before = load_map(output).keyframes
        assert first == Solved("", before, load_map(output).landmarks, ANY, is_grown=True)
        assert before == min(folder.count(), MOST)
        assert asked().keyframes == 0
        record(tmp_path / "a.hfdrive", frames[len(frames) // 2 :], "drifting")
        found = asked()
        assert (found.error, found.keyframes) == ("", load_map(output).keyframes)
        assert found.keyframes > before
        assert process.cpu_s > 0
        assert not process.has_ended
        (folder.path / "drive.json").write_text("no table")
        assert "drive.json" in asked().error
    finally:
        process.kill()
    assert process.has_ended


def test_the_process_ends_with_its_parent(drifting: Path, tmp_path: Path) -> None:
    folder = record(tmp_path / "a.hfdrive", frames_of(drifting), "drifting")
    command = [sys.executable, "-m", "hfnet_core.mapping.live.solve", str(folder.path), str(tmp_path / "a.hfmap")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()  # as when the parent is gone
        assert process.wait(30) == 3
    assert not (tmp_path / "a.hfmap").exists()
