"""Wrong calibrations are named by images together, each by its name and size; right ones are not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, walk
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.uncertainty.calibration.check import CalibrationCheck
from hfnet_core.localization.uncertainty.calibration.deviation import with_focal
from hfnet_core.localization.uncertainty.calibration.explanation import Defect
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.projection import project
from hfnet_core.types import Camera, Features, Localized

PLACES = [looking(x, y, yaw) for x in (-1.0, 0.0, 1.0) for y in (-0.6, 0.6) for yaw in (-100.0, 20.0, 140.0)]
Room = tuple[Scene, Localizer]


@pytest.fixture(scope="module")
def room() -> Room:
    scene = Scene.make()
    return scene, Localizer(scene.build_map(walk()), LocalizerConfig(search_budget_ms=1000.0))


def lens(k1: float = 0.0, k2: float = 0.0, dx: float = 0.0, dy: float = 0.0) -> Camera:
    fx, fy, cx, cy = CAMERA.params
    return Camera("OPENCV", 640, 480, (fx, fy, cx + dx, cy + dy, k1, k2, 0.0, 0.0))


def checked(room: Room, true: Camera, given: Camera) -> CalibrationCheck:
    """After images of one camera that were localized as if another had taken them."""
    scene, localizer = room
    check = CalibrationCheck(localizer.map)
    for seed, place in enumerate(PLACES):
        view = View(scene.view(place, seed=seed, camera=true)[0], given)
        check.add(localizer.localize([view]), view)
    check.conclude()
    return check


def test_a_right_calibration_is_not_doubted(room: Room) -> None:
    check = checked(room, CAMERA, CAMERA)
    assert check.explanation is not None
    assert check.warning is None
    assert np.abs(check.explanation.values[:5]) == pytest.approx(0.0, abs=0.2)
    assert "focal length +0.0" in check.summary.replace("-0.0", "+0.0")
    assert "rows not observable" in check.summary


@pytest.mark.parametrize("factor", [0.5, 2 / 3, 0.8, 0.95, 1.05, 1.25, 1.5, 2.0])
def test_a_focal_length_is_told_however_wrong_it_is(room: Room, factor: float) -> None:
    """Far off no pose is accepted: what was refused tells it."""
    check = checked(room, CAMERA, with_focal(CAMERA, math.log(factor)))
    assert check.explanation is not None
    assert check.explanation.defects == {Defect.FOCAL_LENGTH}
    percent = abs(100 * (1 / factor - 1))
    assert check.warning is not None
    assert f"a focal length about {percent:.0f} % {'longer' if factor < 1 else 'shorter'} than given" in check.warning
    assert "\n" not in check.warning


@pytest.mark.parametrize(("dx", "dy"), [(12.0, -3.0), (0.0, 10.0), (-20.0, 0.0)])
def test_a_principal_point_is_told(room: Room, dx: float, dy: float) -> None:
    check = checked(room, lens(dx=dx, dy=dy), CAMERA)
    assert check.explanation is not None
    assert check.explanation.defects == {Defect.PRINCIPAL_POINT}
    assert check.explanation.values[1:3] == pytest.approx([dx, dy], abs=1.0)
    assert "a principal point" in (check.warning or "")


@pytest.mark.parametrize(("k1", "k2"), [(0.06, 0.0), (-0.1, 0.0), (-0.3, 0.1)])
def test_images_that_are_not_rectified_are_told(room: Room, k1: float, k2: float) -> None:
    check = checked(room, lens(k1, k2), CAMERA)
    assert check.explanation is not None
    assert check.explanation.defects == {Defect.DISTORTION}
    radius2 = np.array([0.2, 0.4])  # of (x / f)^2 + (y / f)^2, as far as most of the image reaches
    told = check.explanation.values[3] * radius2 + check.explanation.values[4] * radius2**2
    assert told == pytest.approx(k1 * radius2 + k2 * radius2**2, abs=0.01)
    assert "are they not rectified?" in (check.warning or "")


def test_images_that_are_rectified_already_are_told(room: Room) -> None:
    check = checked(room, CAMERA, lens(-0.25, 0.05))
    assert check.explanation is not None
    assert check.explanation.defects == {Defect.DISTORTION}
    assert "are they rectified already?" in (check.warning or "")


def test_two_errors_are_told_together(room: Room) -> None:
    check = checked(room, lens(-0.1, 0.0, 15.0), with_focal(CAMERA, math.log(1.06)))
    assert check.explanation is not None
    assert check.explanation.defects == {Defect.FOCAL_LENGTH, Defect.PRINCIPAL_POINT, Defect.DISTORTION}
    assert check.explanation.values[0] == pytest.approx(-math.log(1.06), abs=0.01)
    assert check.explanation.values[1] == pytest.approx(15.0, abs=1.5)


# ---- rolling shutters


def moving(time_s: float) -> Pose:
    """A camera that walks and looks around."""
    yaw = math.degrees(0.8 * time_s) + 40.0 + 60.0 * math.sin(0.7 * time_s)
    return looking(1.2 * math.cos(0.8 * time_s), 0.9 * math.sin(0.8 * time_s), yaw)


def read_by_rows(scene: Scene, time_s: float, rows_s: float, seed: int) -> Features:
    """What a camera sees whose rows are read one after another, the middle one at a time."""
    features, points = scene.view(moving(time_s), seed=seed)
    pixels, rng = features.keypoints_px.copy(), np.random.default_rng(seed)
    for row in np.flatnonzero(points >= 0):
        place = pixels[row]
        for _ in range(3):
            at = moving(time_s + rows_s * ((place[1] + 0.5) / CAMERA.height - 0.5))
            place = project(scene.points[points[row]][None], at, CAMERA)[0][0]
        pixels[row] = place + rng.normal(0.0, 0.5, 2)
    return replace(features, keypoints_px=pixels.astype(np.float32))


@pytest.mark.parametrize("rows_s", [0.0, 0.03])
def test_a_rolling_shutter_is_told_by_a_camera_that_moves(room: Room, rows_s: float) -> None:
    scene, localizer = room
    check = CalibrationCheck(localizer.map)
    for number in range(24):
        view = View(read_by_rows(scene, 0.15 * number, rows_s, number), CAMERA)
        check.add(localizer.localize([view]), view, stamp_s=0.15 * number)
    check.conclude()
    assert check.explanation is not None
    assert check.explanation.defects == (frozenset({Defect.ROLLING_SHUTTER}) if rows_s else frozenset())
    assert check.explanation.values[5] == pytest.approx(rows_s, abs=0.006)
    assert ("rolling shutter" in (check.warning or "")) == bool(rows_s)


# ---- when, and how much


def test_what_stands_still_or_is_seen_rarely_decides_nothing(room: Room) -> None:
    scene, localizer = room
    wrong = with_focal(CAMERA, math.log(1.05))
    still, few = CalibrationCheck(localizer.map), CalibrationCheck(localizer.map)
    for seed in range(30):
        view = View(scene.view(PLACES[0], seed=seed)[0], wrong)
        still.add(localizer.localize([view]), view)
    for seed, place in enumerate(PLACES[:9]):
        view = View(scene.view(place, seed=seed)[0], wrong)
        few.add(localizer.localize([view]), view)
    assert still.conclude() is None
    assert few.conclude() is None
    assert still.summary == ""


def test_another_calibration_starts_over(room: Room) -> None:
    check = checked(room, CAMERA, with_focal(CAMERA, math.log(1.05)))
    assert check.warning is not None
    scene, localizer = room
    view = View(scene.view(PLACES[0])[0], CAMERA)
    check.add(localizer.localize([view]), view)
    assert check.warning is None


def test_the_past_is_forgotten_and_memory_is_bounded(room: Room) -> None:
    """A lens that was knocked and put right again, under one calibration."""
    scene, localizer = room
    check, warned = CalibrationCheck(localizer.map), []
    for seed, place in enumerate(PLACES + 4 * PLACES):
        true = lens(dx=15.0) if seed < len(PLACES) else CAMERA
        view = View(scene.view(place, seed=seed, camera=true)[0], CAMERA)
        check.add(localizer.localize([view]), view)
        warned.append(check.warning is not None)
        assert len(check._images) <= 60
        assert all(len(image.seen.pixels) <= 200 for image in check._images)
    assert warned[len(PLACES) - 1]
    assert check.conclude() is None


def test_photos_of_elsewhere_ask_for_no_focal_length(room: Room) -> None:
    _, localizer = room
    other = Scene.make(seed=5)
    check = CalibrationCheck(localizer.map)
    for seed, place in enumerate(PLACES):
        view = View(other.view(place, seed=seed)[0], CAMERA)
        check.add(localizer.localize([view]), view)
    assert check.conclude() is None


def test_evidence_is_kept_from_one_version_of_a_map_to_the_next(room: Room) -> None:
    """Too few images in each of them, and enough in all; what a version has refined of the camera is not held against
    it."""
    scene, localizer = room
    given = with_focal(CAMERA, math.log(1.04))
    watch, alone, right = (CalibrationWatch(localizer.map) for _ in range(3))
    corrected = replace(localizer.map, given_cameras=(CAMERA,), cameras=(given,))
    for seed, place in enumerate(PLACES):
        if seed % 6 == 0:
            watch.follow(replace(localizer.map))
            alone = CalibrationWatch(localizer.map)
        views = {"": View(scene.view(place, seed=seed, camera=given)[0], CAMERA)}
        found = localizer.localize(list(views.values()))
        for one in (watch, alone, right):
            one.add(found, views)
    assert alone.conclude() is None
    assert "a focal length about 4 % longer" in (watch.conclude() or "")
    assert "a focal length about 4 % longer" in (right.conclude() or "")
    right.follow(corrected)
    assert right.conclude() is None


def test_covariances_cover_what_is_named(room: Room) -> None:
    scene, localizer = room
    watch, given = CalibrationWatch(localizer.map), lens(dx=15.0)
    nees = []
    for seed, place in enumerate(2 * PLACES):
        views = {"": View(scene.view(place, seed=seed)[0], given)}
        found = localizer.localize(list(views.values()))
        watch.add(found, views)
        covered = watch.covered(found, views)
        if isinstance(found, Localized) and isinstance(covered, Localized) and seed >= len(PLACES):
            turn = Rotation.from_matrix(found.map_from_camera.rotation @ place.rotation.T).as_rotvec()
            off = np.concatenate([found.map_from_camera.translation - place.translation, turn])
            nees.append([off @ np.linalg.solve(one.covariance, off) for one in (found, covered)])
    before, after = np.median(nees, axis=0)
    assert before > 100.0
    assert after < 12.6  # 95 % of chi-square with 6 degrees of freedom
    assert watch.warnings[""] is not None
    assert watch.conclude() == watch.warnings[""]


def test_a_right_calibration_leaves_results_as_they_are(room: Room) -> None:
    scene, localizer = room
    watch = CalibrationWatch(localizer.map)
    for seed, place in enumerate(PLACES):
        views = {"left": View(scene.view(place, seed=seed)[0], CAMERA)}
        found = localizer.localize(list(views.values()))
        watch.add(found, views)
        assert watch.covered(found, views) is found
    assert watch.conclude() is None
    assert watch.summaries["left"].startswith("focal length")


def test_cameras_of_a_rig_are_told_apart(room: Room) -> None:
    """The second one looks back, and has the focal length of another lens."""
    scene, localizer = room
    watch = CalibrationWatch(localizer.map)
    back = Pose(Rotation.from_euler("y", 180.0, degrees=True).as_matrix(), np.array([0.1, 0.0, 0.0]))
    for seed, place in enumerate(PLACES):
        views = {
            "front": View(scene.view(place, seed=seed)[0], CAMERA),
            "back": View(scene.view(place @ back, seed=100 + seed)[0], with_focal(CAMERA, math.log(1.04)), back),
        }
        found = localizer.localize(list(views.values()))
        watch.add(found, views)
    said = watch.conclude() or ""
    assert said.startswith("back: the images fit the map with a focal length about 4 % shorter")
    assert watch.warnings["front"] is None


def test_the_pose_that_goes_with_a_deviation_is_where_the_derivative_says(room: Room) -> None:
    scene, localizer = room
    check = checked(room, CAMERA, lens(dx=15.0))
    view = View(scene.view(PLACES[4], seed=99)[0], lens(dx=15.0))
    found = localizer.localize([view])
    assert isinstance(found, Localized)
    shift = check.shift(found, view)
    assert shift is not None
    turned = Rotation.from_rotvec(shift[3:]).as_matrix() @ found.map_from_camera.rotation
    mended = Pose(turned, found.map_from_camera.translation + shift[:3])
    before, after = (apart(one, PLACES[4]) for one in (found.map_from_camera, mended))
    assert before > 0.03
    assert after < 0.3 * before


def apart(one: Pose, other: Pose) -> float:
    """Metres, for a landmark three metres away."""
    metres, degrees = pose_error(one, other)
    return metres + 3.0 * math.radians(degrees)
