"""Whatever a recording brings, a build ends with right poses or with one line that names what is wrong.

`HFNET_FUZZ_CASES=2000 python -m pytest test/fuzz` is the long run; without it a short slice of the same cases runs.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from bag_cases import DATUM, DEFECTS, SOURCES, Case, cases, tum_file, write
from helpers import tiny_model
from hypothesis import HealthCheck, given, settings
from wall import map_from_camera

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import HFNetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.georeference.datum import Georeference
from hfnet_core.georeference.earth import local_axes
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bag_writer import STORAGES
from hfnet_core.recordings.options import BagOptions, PoseOptions

CASES = int(os.environ.get("HFNET_FUZZ_CASES", "10"))
RIGHT_M, RIGHT_DEG = 0.02, 0.5
SOURCES_SAID = ("/robot2/tf", "/wheels/odom", "/goal")  # a warning of wrong poses names where they come from
NAMED = ("drive", "/", "--")  # the recording, a topic, or an option


ONCE_WRONG = (  # without a word, before they were mended
    Case("mcap", "nothing", ("another robot's tree",), False, 65536),
    Case("rosbag1", "odometry in map", ("equal stamps", "one goal pose", "empty image"), False, 2275),
    Case("mcap", "tf", ("gps", "no calibration"), False, 1192),
    Case("mcap", "nothing", ("an imu of nan", "gps", "calibration last", "calibration of zeros first"), True, 291),
    Case("mcap", "tf of base", ("a second odometry", "calibration of zeros first"), False, 0),
    Case("mcap", "tf of base", ("a second odometry", "no calibration"), False, 0),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Extractor]]:
    folder = tmp_path_factory.mktemp("fuzz")
    backend = open_backend(tiny_model(folder), threads=1)
    yield folder, Extractor(backend, ExtractorConfig(max_keypoints=200))
    backend.close()


class Warnings(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.mark.timeout(0)
@settings(
    max_examples=CASES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(case=cases)
def test_a_build_ends_with_right_poses_or_a_line_that_names_what_is_wrong(
    place: tuple[Path, Extractor], case: Case
) -> None:
    folder, extractor = place
    work = folder / "case"
    work.mkdir()
    try:
        check(case, work, extractor)
    finally:
        shutil.rmtree(work)


@pytest.mark.timeout(0)
def test_every_defect_alone_and_every_source_is_survived(place: tuple[Path, Extractor]) -> None:
    """The corners of what is drawn, so that the short slice leaves none out."""
    folder, extractor = place
    alone = [Case(STORAGES[number % 3], SOURCES[number % len(SOURCES)], (defect,), number % 2 == 0, number)
             for number, defect in enumerate(DEFECTS)]  # fmt: skip
    plain = [Case("mcap", source, (), False, 0) for source in SOURCES]
    plain += ONCE_WRONG
    for case in (*plain, *alone):
        work = folder / "alone"
        work.mkdir()
        try:
            check(case, work, extractor)
        finally:
            shutil.rmtree(work)


def check(case: Case, work: Path, extractor: Extractor) -> str:
    """How a case ended: "refused", "right", or "warned" of poses that are wrong."""
    path = write(case, work)
    options = BagOptions(poses=PoseOptions(poses=tum_file(work) if case.source == "tum" else None))
    heard = Warnings()
    logging.getLogger("hfnet_core").addHandler(heard)
    try:
        built = build_map([path], extractor, MapBuildConfig(refine_poses=False, match_ratio=0.95), options)
    except HFNetError as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert any(word in message for word in NAMED), message
        assert len(message) < 1500
        return "refused"
    finally:
        logging.getLogger("hfnet_core").removeHandler(heard)
    assert all("\n" not in line for line in heard.lines)
    wrong = wrong_poses(built)
    assert not wrong or any(topic in line for line in heard.lines for topic in SOURCES_SAID), (case, wrong)
    return "warned" if wrong else "right"


def wrong_poses(built: LandmarkMap) -> list[str]:
    """Keyframes that are not where the camera was; their names end with the number of their image.

    Of images alone, whose frame is made here, their place on Earth counts, or how they lie to each other; a flat wall
    leaves their tilt open.
    """
    out = []
    place = Georeference.of(built.provenance)
    earth_from_truth = local_axes(DATUM)
    alone = built.provenance["pose_mode"] == "images"
    right_m, right_deg = (0.05, 8.0) if alone else (RIGHT_M, RIGHT_DEG)
    truths = [map_from_camera(32 * int(name.split("/")[1])) for name in built.keyframe_names]
    own_frame = alone and place is None and "frame of the odometry" not in built.provenance["gravity"]
    truth_from_map = truths[0] @ built.map_from_camera(0).inverse() if own_frame else Pose()
    for index, (name, truth) in enumerate(zip(built.keyframe_names, truths, strict=True)):
        found = truth_from_map @ built.map_from_camera(index)
        metres, degrees = pose_error(found, truth)
        if place is not None:
            on_earth = earth_from_truth @ truth
            axes = local_axes(place.datum).rotation @ place.enu_from_map
            there = Pose(axes @ found.rotation, local_axes(place.place_of(found.translation)).translation)
            far = pose_error(there, on_earth)
            metres, degrees = far if alone else (max(metres, far[0] - 0.02), degrees)
        if metres > right_m or degrees > right_deg:
            out.append(f"{name}: {metres:.2f} m, {degrees:.1f} deg")
    return out
