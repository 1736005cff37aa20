"""Maps of drives with a satellite receiver: where they are, how large, and what is said where fixes do not tell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import fix
from drive import INFO, Drive, drive
from helpers import tiny_model
from scipy.spatial.transform import Rotation
from wall import CAMERA, map_from_camera, view, wall_image

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Array, Pose, Similarity
from hfnet_core.georeference.datum import Georeference
from hfnet_core.georeference.earth import Geodetic, geodetic_of, local_axes
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.maintenance.align import moved_map
from hfnet_core.maintenance.extend import extend_map
from hfnet_core.maintenance.summary import summarize
from hfnet_core.mapping.builder import build_from_keyframes, build_map
from hfnet_core.mapping.georeferencing import georeferenced
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.pose_modes import Placed, place_keyframes
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bag_writer import BagWriter, open_writer
from hfnet_core.recordings.options import BagOptions

DATUM = Geodetic(48.137, 11.575, 520.0)
ENU_FROM_MAP = Rotation.from_euler("z", 40, degrees=True).as_matrix()
START, STEP = 1_700_000_000 * 10**9, 10**8
SHIFTS = (0, 32, 64, 96, 128, 160)
CONFIG = MapBuildConfig(refine_poses=False, match_ratio=0.95)
Receiver = Callable[[BagWriter, int, tuple[float, float, float]], None]


def place_of(point: Array) -> tuple[float, float, float]:
    """On Earth, of a point of the map."""
    found = geodetic_of(local_axes(DATUM).apply((ENU_FROM_MAP @ point)[None])[0])
    return found.latitude_deg, found.longitude_deg, found.altitude_m


def good(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
    fix(writer, "/fix", START + index * STEP, place, 0.01)


def slide(path: Path, receiver: Receiver = good, *, posed: bool = True) -> Path:
    """A camera that slides 1.2 m along a wall, with a receiver of a centimetre."""
    rng, wall = np.random.default_rng(0), wall_image()
    with open_writer(path, "mcap") as writer:
        for index, shift in enumerate(SHIFTS):
            stamp, pose = START + index * STEP, map_from_camera(shift)
            writer.camera_info(stamp, CAMERA)
            writer.image(stamp, view(shift, wall))
            if posed:
                writer.pose(stamp, pose)
            receiver(writer, index, place_of(pose.translation + rng.normal(0, 0.003, 3)))
    return path


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    backend = open_backend(tiny_model(tmp_path_factory.mktemp("model")), threads=1)
    return Extractor(backend, ExtractorConfig(max_keypoints=200))


def shown(landmark_map: LandmarkMap) -> str:
    return " ".join(str(cell) for column in summarize(landmark_map, Path("x")).columns for cell in column.cells)


def test_a_map_of_given_poses_knows_where_it_is(tmp_path: Path, extractor: Extractor) -> None:
    made = build_map([slide(tmp_path / "bag")], extractor, CONFIG)
    found = Georeference.of(made.provenance)
    assert found is not None
    at = found.place_of(map_from_camera(80).translation)
    wanted = Geodetic(*place_of(map_from_camera(80).translation))
    assert np.linalg.norm(local_axes(at).translation - local_axes(wanted).translation) < 0.02
    assert np.degrees(found.heading_rad) == pytest.approx(40, abs=1.0)
    assert found.tilt_deg < 1.5
    assert (found.fixes, found.outliers, found.source) == (6, 0, "/fix")
    for said in (f"{found.datum.latitude_deg:.8f} N", "6 of 6 fixes of /fix agree", f"{found.heading_rad:.6f}]"):
        assert said in shown(made)


def test_the_place_survives_the_file_and_follows_an_alignment(tmp_path: Path, extractor: Extractor) -> None:
    made = build_map([slide(tmp_path / "bag")], extractor, CONFIG)
    turn = Similarity(1.0, Pose(Rotation.from_euler("z", 25, degrees=True).as_matrix(), np.array([3.0, -2.0, 0.5])))
    save_map(moved_map(made, turn), tmp_path / "moved.hfmap")
    found = Georeference.of(load_map(tmp_path / "moved.hfmap").provenance)
    assert found is not None
    assert np.degrees(found.heading_rad) == pytest.approx(15, abs=1.0)
    point = turn.apply(map_from_camera(80).translation[None])[0]
    wanted = Geodetic(*place_of(map_from_camera(80).translation))
    assert np.linalg.norm(local_axes(found.place_of(point)).translation - local_axes(wanted).translation) < 0.02


def test_one_zero_and_one_nan_fix_change_nothing(tmp_path: Path, extractor: Extractor) -> None:
    def odd(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
        good(writer, index, place)
        fix(writer, "/fix", START + index * STEP + 1, (0, 0, 0) if index % 2 else (np.nan, np.nan, np.nan), 0.01)

    plain = Georeference.of(build_map([slide(tmp_path / "plain")], extractor, CONFIG).provenance)
    made = build_map([slide(tmp_path / "odd", odd)], extractor, CONFIG)
    found = Georeference.of(made.provenance)
    assert plain is not None
    assert found is not None
    assert found.datum == plain.datum
    assert made.provenance["recordings"][0]["gps"] == "/fix (6 fixes; left out: 6 without a position)"


def without_fix(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
    fix(writer, "/fix", START + index * STEP, place, status=-1)


def two_topics(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
    for name in ("/a", "/b"):
        fix(writer, name, START + index * STEP, place)


def of_metres(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
    fix(writer, "/fix", START + index * STEP, place, 2.0)


def of_another_time(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
    fix(writer, "/fix", START + (index + 999) * STEP, place, 0.01)


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        (without_fix, "none of the fixes of /fix can be used"),
        (two_topics, "several GPS topics, choose one with --gps-topic: /a"),
        (of_metres, "GPS of /fix: the drive covers 1.2 m"),
        (of_another_time, "do the clocks agree?"),
    ],
)
def test_fixes_that_do_not_tell_are_a_line_in_the_log_and_needed_for_images_alone(
    receiver: Receiver, said: str, tmp_path: Path, extractor: Extractor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        made = build_map([slide(tmp_path / "posed", receiver)], extractor, CONFIG)
    assert Georeference.of(made.provenance) is None
    assert said in caplog.text
    assert said in shown(made)
    assert made.keyframes == len(SHIFTS)
    with pytest.raises((ConfigError, DatasetError)) as caught:
        build_map([slide(tmp_path / "blind", receiver, posed=False)], extractor, CONFIG)
    assert said in str(caught.value)


def test_a_recording_without_a_receiver_says_nothing_of_gps(tmp_path: Path, extractor: Extractor) -> None:
    made = build_map([slide(tmp_path / "bag", lambda writer, index, place: None)], extractor, CONFIG)
    assert "gps" not in made.provenance["recordings"][0]
    assert "GPS" not in shown(made)


def test_of_two_receivers_the_chosen_one_counts(tmp_path: Path, extractor: Extractor) -> None:
    def two(writer: BagWriter, index: int, place: tuple[float, float, float]) -> None:
        good(writer, index, place)
        fix(writer, "/other", START + index * STEP, (place[0] + 1.0, *place[1:]), 0.01)

    made = build_map([slide(tmp_path / "bag", two)], extractor, CONFIG, BagOptions(gps_topic="/other"))
    found = Georeference.of(made.provenance)
    assert found is not None
    assert found.datum.latitude_deg == pytest.approx(DATUM.latitude_deg + 1, abs=1e-3)


def test_a_map_is_placed_by_what_is_added_later(tmp_path: Path) -> None:
    extractor = Extractor(open_backend(None, threads=1), ExtractorConfig(max_keypoints=400))
    made = build_map([slide(tmp_path / "first", lambda writer, index, place: None)], extractor, CONFIG)
    later = extend_map(made, [slide(tmp_path / "later")], BuildTools(extractor, CONFIG)).landmark_map
    found = Georeference.of(later.provenance)
    assert found is not None
    assert np.degrees(found.heading_rad) == pytest.approx(40, abs=1.0)


def receiver_of(scene: Drive, noise_m: float, factor: float = 1.0, seed: int = 0) -> GpsTrack:
    """Ten fixes a second of a synthetic drive, whose map is level when y points down."""
    enu_from_scene = Rotation.from_euler("z", 40, degrees=True) * Rotation.from_euler("x", -90, degrees=True)
    rng = np.random.default_rng(seed)
    centres = factor * np.array([pose.translation for pose in scene.truth])
    enu = enu_from_scene.apply(centres) + rng.normal(0, noise_m, centres.shape)
    places = np.array([geodetic_of(point).as_array() for point in local_axes(DATUM).apply(enu)])
    stamps = np.array([keyframe.stamp_ns for keyframe in scene.keyframes])
    return GpsTrack("/fix", stamps, places, np.full((len(stamps), 2), noise_m), np.zeros((len(stamps), 3)))


def test_images_alone_become_metric_and_east_north_up(caplog: pytest.LogCaptureFixture) -> None:
    scene, factor = drive(views=30, noise_px=0.3), 20.0  # 40 m, a centimetre receiver
    track = receiver_of(scene, 0.05, factor)
    placed = place_keyframes(scene.keyframes, ["map"], MapBuildConfig(), tracks={0: track})
    made = build_from_keyframes(placed, INFO, MapBuildConfig())
    made = georeferenced(made, [0] * made.keyframes, {0: track})
    found = Georeference.of(made.provenance)
    assert found is not None
    assert made.provenance["scale"]["source"] == "GPS"
    assert made.provenance["gravity"] == "z up by GPS"
    ways = [np.linalg.norm(poses[-1].translation - poses[0].translation)
            for poses in (scene.truth, [made.map_from_camera(index) for index in range(made.keyframes)])]  # fmt: skip
    assert ways[1] == pytest.approx(factor * ways[0], rel=0.01)
    assert abs(np.degrees(found.heading_rad)) < 1.0  # x is east
    assert found.tilt_deg < 3.0  # about the line of a straight drive the cameras tell
    first = found.place_of(made.map_from_camera(0).translation).as_array()
    assert np.linalg.norm(local_axes(Geodetic(*first)).translation - local_axes(DATUM).translation) < 0.1
    east_of_start = made.map_from_camera(made.keyframes - 1).translation - made.map_from_camera(0).translation
    wanted = factor * (scene.truth[-1].translation - scene.truth[0].translation)
    assert np.degrees(np.arctan2(east_of_start[1], east_of_start[0])) == pytest.approx(
        40 + np.degrees(np.arctan2(wanted[2], wanted[0])), abs=1.0
    )
    assert not caplog.records


def test_a_map_of_another_scale_than_gps_says_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    scene = drive(views=30)
    made = build_from_keyframes(Placed(scene.keyframes), INFO, MapBuildConfig(refine_poses=False))
    with caplog.at_level(logging.WARNING):
        georeferenced(made, [0] * made.keyframes, {0: receiver_of(scene, 0.005, 1.1)})
    assert "by GPS, distances are 1.1" in caplog.text
