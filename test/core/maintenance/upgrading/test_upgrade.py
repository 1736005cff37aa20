"""A map of one network, described anew by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import tiny_model
from wall import (
    CAMERA,
    DISTANCE_M,
    MAP_FROM_WALL,
    RIG_SHIFTS,
    SHIFTS,
    base_from_camera,
    map_from_camera,
    noise_image,
    view,
    wall_bag,
    wall_image,
)

from hfnet_core.cli.main import main
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import pose_error
from hfnet_core.georeference.datum import KEY
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maintenance.upgrading.upgrade import upgrade_map
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframe_bundle import KeyframeBundle
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer
from hfnet_core.recordings.options import BagOptions, options_per_camera

CONFIG = MapBuildConfig(refine_poses=False, keyframe_distance_m=0.05)
START = 1_700_000_000 * 10**9
STEP = 10**8


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny_model(folder, seed=1), tiny_model(folder, seed=0)


@pytest.fixture(scope="module")
def extractors(models: tuple[Path, Path]) -> tuple[Extractor, Extractor]:
    config = ExtractorConfig(max_keypoints=400)
    first, second = (Extractor(open_backend(model, threads=1), config) for model in models)
    return first, second


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "drive"
    wall_bag(path, SHIFTS)
    return path


@pytest.fixture(scope="module")
def old(bag: Path, extractors: tuple[Extractor, Extractor]) -> LandmarkMap:
    return build_map([bag], extractors[0], CONFIG)


def error_m(landmark_map: LandmarkMap, extractor: Extractor, shift: int) -> float:
    """How far from the truth the pose of an image is that most of its matches support, metres.

    Of the poses that are judged: features of random weights on a plane convince no judge.
    """
    found = Localizer(landmark_map).candidates([View(extractor.extract(view(shift)).without_dense(), CAMERA)])
    best = max((candidate.hypothesis for candidate in found), key=lambda hypothesis: hypothesis.inliers)
    assert best.inliers > 100
    metres, degrees = pose_error(best.map_from_rig, map_from_camera(shift))
    assert degrees < 1.0
    return metres


def off_the_wall(landmark_map: LandmarkMap) -> np.ndarray:
    return np.abs(MAP_FROM_WALL.inverse().apply(landmark_map.landmarks_xyz.astype(np.float64))[:, 2] - DISTANCE_M)


def test_images_of_the_new_network_are_localized_where_they_were_taken(
    old: LandmarkMap, bag: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    new = upgrade_map(old, [bag], BuildTools(extractors[1], CONFIG)).landmark_map
    assert new.model_hash == extractors[1].info.model_hash != old.model_hash
    assert np.quantile(off_the_wall(new), 0.9) < 0.02
    assert max(error_m(new, extractors[1], shift) for shift in (32, 48, 112)) < 0.03


def test_everything_but_features_and_landmarks_stays_to_the_bit(
    old: LandmarkMap, bag: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    place = {KEY: {"latitude_deg": 1.0}}
    kept = replace(
        old, frame_id="hall", pose_sigma_m=0.0123, pose_sigma_rad=0.004, provenance={**old.provenance, **place},
        keyframe_poses=old.keyframe_poses + 1e-9,
    )  # fmt: skip
    new = upgrade_map(kept, [bag], BuildTools(extractors[1], CONFIG)).landmark_map
    for name in ("keyframe_poses", "keyframe_stamps_ns", "keyframe_cameras"):
        assert np.array_equal(getattr(new, name), getattr(kept, name)), name
    for name in ("keyframe_names", "cameras", "given_cameras", "frame_id", "pose_sigma_m", "pose_sigma_rad"):
        assert getattr(new, name) == getattr(kept, name), name
    assert new.observation_descriptors.dtype == kept.observation_descriptors.dtype
    assert new.provenance[KEY] == kept.provenance[KEY]
    assert new.provenance["recordings"] == kept.provenance["recordings"]
    assert new.provenance["history"] == [
        {"step": "upgrade", "keyframes": 6, "missing": 0,
         "model_before": {"name": "tiny", "version": "0", "hash": old.model_hash}}
    ]  # fmt: skip
    assert new.provenance["statistics"]["landmarks"] == new.landmarks


def test_landmarks_by_depth_are_made_anew_and_visits_are_forgotten(
    tmp_path: Path, extractors: tuple[Extractor, Extractor], caplog: pytest.LogCaptureFixture
) -> None:
    png = cv2.imencode(".png", np.full((CAMERA.height, CAMERA.width), round(1000 * DISTANCE_M), np.uint16))[1].tobytes()
    with open_writer(tmp_path / "bag", "mcap") as writer:
        for index, shift in enumerate(SHIFTS):
            stamp_ns = START + index * STEP
            writer.camera_info(stamp_ns, CAMERA)
            writer.image(stamp_ns, view(shift))
            writer.depth(stamp_ns, png)
            writer.pose(stamp_ns, map_from_camera(shift))
    config = replace(CONFIG, depth_landmarks=1000)
    old = build_map([tmp_path / "bag"], extractors[0], config)
    counted = replace(
        old, landmark_hits=np.ones(old.landmarks, np.int32), landmark_misses=np.zeros(old.landmarks, np.int32)
    )
    with caplog.at_level("INFO"):
        new = upgrade_map(counted, [tmp_path / "bag"], BuildTools(extractors[1], config)).landmark_map
    assert new.measured.sum() > 20
    assert np.abs(off_the_wall(new)[new.measured]).max() < 0.02
    assert new.provenance["statistics"]["landmarks_by_depth"] == new.measured.sum()
    assert not len(new.landmark_hits)
    assert "is forgotten" in caplog.text


def test_the_same_network_makes_the_same_landmarks(
    old: LandmarkMap, bag: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    again = upgrade_map(old, [bag], BuildTools(extractors[0], CONFIG)).landmark_map
    assert again.landmarks == pytest.approx(old.landmarks, rel=0.1)
    assert np.array_equal(again.global_descriptors, old.global_descriptors)


def test_keyframes_without_images_are_named_and_left_out_or_refused(
    old: LandmarkMap, tmp_path: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    wall_bag(tmp_path / "cut", SHIFTS[:5])
    tools = BuildTools(extractors[1], CONFIG)
    with pytest.raises(
        DatasetError, match=r"cut: the images of 1 of 6 keyframes are not there \(0/000005\).*--max-miss"
    ):
        upgrade_map(old, [tmp_path / "cut"], tools)
    found = upgrade_map(old, [tmp_path / "cut"], tools, max_missing=0.2)
    assert found.missing == ("0/000005",)
    assert found.landmark_map.keyframe_names == old.keyframe_names[:5]
    assert np.array_equal(found.landmark_map.keyframe_poses, old.keyframe_poses[:5])
    assert found.landmark_map.provenance["history"][-1]["missing"] == 1


def test_images_of_other_places_are_refused(
    old: LandmarkMap, tmp_path: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    with open_writer(tmp_path / "other", "mcap") as writer:
        for index in range(len(SHIFTS)):
            writer.camera_info(START + index * STEP, CAMERA)
            writer.image(START + index * STEP, noise_image(index))
    with pytest.raises(DatasetError, match=r"agree with the map's poses|no landmark could be triangulated"):
        upgrade_map(old, [tmp_path / "other"], BuildTools(extractors[1], CONFIG))


def test_a_map_without_stamps_is_imported_again(
    old: LandmarkMap, bag: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    imported = replace(old, keyframe_stamps_ns=np.full(old.keyframes, -1))
    with pytest.raises(MapError, match="hfnet map import --images"):
        upgrade_map(imported, [bag], BuildTools(extractors[1], CONFIG))


NAMES = ("left", "right")
TOPICS = [f"/{name}/image" for name in NAMES]
WAY = (16, 48, 80, 112)  # shifts of the base


def rig_bag(path: Path) -> Path:
    """Two cameras of one calibration whose images have the same stamps."""
    wall = wall_image()
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(WAY):
            for name, own in zip(NAMES, RIG_SHIFTS, strict=True):
                writer.topics = WriterTopics(
                    f"/{name}/image", f"/{name}/image/compressed", f"/{name}/camera_info", camera_frame=name
                )
                writer.camera_info(START + index * STEP, CAMERA)
                writer.image(START + index * STEP, view(shift + own, wall))
            writer.topics = WriterTopics()
            writer.pose(START + index * STEP, map_from_camera(shift) @ base_from_camera(0).inverse())
    return path


def cameras(topics: Sequence[str]) -> tuple[BagOptions, ...]:
    mounts = {topic: base_from_camera(own) for topic, own in zip(TOPICS, RIG_SHIFTS, strict=True)}
    return options_per_camera(
        BagOptions(), image_topic=topics, base_from_camera=[mounts[topic] for topic in topics]
    )  # fmt: skip


def test_images_of_one_stamp_go_to_the_keyframe_of_their_camera(
    tmp_path: Path, extractors: tuple[Extractor, Extractor]
) -> None:
    path = rig_bag(tmp_path / "rig")
    options = tuple(replace(own, poses=replace(own.poses, pose_frame="base")) for own in cameras(TOPICS))
    old = build_map([path], extractors[0], CONFIG, options)
    tools = BuildTools(extractors[1], CONFIG)
    new = upgrade_map(old, [path], tools, cameras(TOPICS[::-1])).landmark_map
    assert np.array_equal(new.keyframe_poses, old.keyframe_poses)
    assert np.quantile(off_the_wall(new), 0.9) < 0.02
    assert error_m(new, extractors[1], 48) < 0.03
    left = upgrade_map(old, [path], tools, cameras(TOPICS[:1]), max_missing=0.5)
    assert left.missing == tuple(name for name in old.keyframe_names if name.startswith("1/"))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["hfnet", "map", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_the_command_replaces_a_map_whole_or_not_at_all(
    old: LandmarkMap, bag: Path, models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "a.hfmap"
    save_map(old, path)
    before = path.read_bytes()
    command: tuple[object, ...] = ("upgrade", path, bag, "-o", path, "--model", models[1])
    with monkeypatch.context() as broken:
        broken.setattr(KeyframeBundle, "match", interrupted)
        assert run(monkeypatch, *command) == 130
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.hfmap"]
    wall_bag(tmp_path / "cut", SHIFTS[1:])
    assert run(monkeypatch, "upgrade", path, tmp_path / "cut", "-o", path, "--model", models[1]) == 2
    assert path.read_bytes() == before
    capsys.readouterr()
    assert run(monkeypatch, *command) == 0
    assert "left out" not in capsys.readouterr().out
    assert load_map(path).model_hash != old.model_hash


def test_the_refusal_of_an_old_map_names_the_command(
    old: LandmarkMap, extractors: tuple[Extractor, Extractor], tmp_path: Path
) -> None:
    save_map(old, tmp_path / "a.hfmap")
    with pytest.raises(MapError, match="hfnet map upgrade"):
        load_map(tmp_path / "a.hfmap", extractors[1].info.model_hash)
    smaller = replace(extractors[0].extract(view(0)), global_descriptor=np.ones(8, np.float32) / np.sqrt(8))
    with pytest.raises(MapError, match="hfnet map upgrade"):
        Localizer(old).localize([View(smaller, CAMERA)])
