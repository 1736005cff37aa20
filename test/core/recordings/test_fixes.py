"""Fixes of satellite receivers in recordings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bags import START, STEP, fix, static_transform, write_bag

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.recordings.bag_writer import STORAGES, BagWriter
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.fixes import NoFixes
from hfnet_core.recordings.options import BagOptions

PLACE = (48.1, 11.5, 520.0)


Extra = Callable[[BagWriter], None]


def gps_of(folder: Path, extra: Extra, storage: str = "mcap") -> GpsTrack | NoFixes:
    return gps_in(write_bag(folder / ("drive.bag" if storage == "rosbag1" else "drive"), storage, extra=extra))


def gps_in(path: Path, topic: str | None = None) -> GpsTrack | NoFixes:
    with Bag(path, BagOptions(gps_topic=topic)) as bag:
        return bag.gps


@pytest.mark.parametrize("storage", STORAGES)
def test_fixes_are_read_with_their_accuracy(storage: str, tmp_path: Path) -> None:
    def some(writer: BagWriter) -> None:
        for index in range(3):
            fix(writer, "/fix", START + index * STEP, (48.1, 11.5 + index / 1e5, 520.0), 0.4)

    found = gps_of(tmp_path, some, storage=storage)
    assert isinstance(found, GpsTrack)
    assert found.stamps_ns.tolist() == [START, START + STEP, START + 2 * STEP]
    assert found.places[2].tolist() == [48.1, 11.50002, 520.0]
    assert found.sigmas_m == pytest.approx(np.full((3, 2), 0.4))
    assert not found.antenna_known
    assert found.in_words() == "/fix (3 fixes)"


def test_what_is_no_position_is_left_out_and_counted(tmp_path: Path) -> None:
    def odd(writer: BagWriter) -> None:
        for index, place in enumerate([PLACE, (0, 0, 0), (np.nan, np.nan, np.nan), (91, 11, 0), PLACE, PLACE]):
            fix(writer, "/fix", START + index * STEP, place, status=-1 if index == 5 else 0)

    found = gps_of(tmp_path, odd)
    assert isinstance(found, GpsTrack)
    assert len(found) == 2
    assert found.in_words() == "/fix (2 fixes; left out: 3 without a position, 1 without a fix)"
    assert found.sigmas_m.tolist() == [[3.0, 6.0]] * 2  # the receiver does not say


def test_a_missing_altitude_is_no_missing_fix(tmp_path: Path) -> None:
    found = gps_of(tmp_path, lambda writer: fix(writer, "/fix", START, (48.1, 11.5, np.nan), 1.0))
    assert isinstance(found, GpsTrack)
    assert np.isnan(found.places[0, 2])


def test_a_receiver_that_never_had_a_fix_is_said(tmp_path: Path) -> None:
    found = gps_of(tmp_path, lambda writer: fix(writer, "/fix", START, PLACE, status=-1))
    assert found == "none of the fixes of /fix can be used (1 without a fix)"


def test_a_recording_without_a_receiver_says_nothing(tmp_path: Path) -> None:
    assert gps_of(tmp_path, lambda writer: None) == ""


def test_of_several_topics_the_user_chooses(tmp_path: Path) -> None:
    def two(writer: BagWriter) -> None:
        fix(writer, "/a/fix", START, PLACE)
        fix(writer, "/b/fix", START, (48.2, 11.5, 520.0))

    path = write_bag(tmp_path / "drive", extra=two)
    assert gps_in(path) == NoFixes(
        "several GPS topics, choose one with --gps-topic: /a/fix (sensor_msgs/NavSatFix, 1), /b/fix "
        "(sensor_msgs/NavSatFix, 1)"
    )
    chosen = gps_in(path, "/b/fix")
    assert isinstance(chosen, GpsTrack)
    assert chosen.places[0, 0] == 48.2
    with pytest.raises(DatasetError, match="no topic /c/fix"):
        gps_in(path, "/c/fix")
    with pytest.raises(DatasetError, match=r"/camera/camera_info .* is no sensor_msgs/NavSatFix"):
        gps_in(path, "/camera/camera_info")


def test_transforms_tell_where_the_antenna_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def mounted(writer: BagWriter) -> None:
        static_transform(writer, "base", "camera", START, Pose(translation=np.array([0.5, 0, 0])))
        static_transform(writer, "base", "gps", START, Pose(translation=np.array([0.1, 0, 1.0])))
        fix(writer, "/fix", START + STEP, PLACE)

    with caplog.at_level(logging.WARNING):
        found = gps_of(tmp_path, mounted)
    assert isinstance(found, GpsTrack)
    assert found.antenna_known
    assert found.antennas[0] == pytest.approx([-0.4, 0, 1.0])
    assert not caplog.records
