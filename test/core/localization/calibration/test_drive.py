"""Mounting and time offset between camera and odometry, told by a drive as far as it shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_difference
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.uncertainty.calibration.drive import DriveCheck, Reading
from hfnet_core.localization.uncertainty.calibration.explanation import DriveDefect
from hfnet_core.localization.uncertainty.calibration.watch import CalibrationWatch
from hfnet_core.localization.uncertainty.calibration.wording import drive_summary, drive_warning
from hfnet_core.types import Camera, Features, NotLocalized, Reason

FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
MOUNTED = Pose(FORWARD, np.array([0.3, 0.0, 0.8]))
SIGMA_M, SIGMA_RAD, RATE_S, STEP_S = 0.01, 0.002, 0.1, 0.001
Motion = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def turning(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Speed (m/s) and rate of turn (rad/s)."""
    return 1.0 + 0.6 * np.sin(0.5 * time_s), 0.2 + 0.6 * np.sin(0.35 * time_s)


def straight(time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full_like(time_s, 1.0), np.zeros_like(time_s)


def path(motion: Motion) -> Callable[[float], Pose]:
    """odom_from_base of a robot on a plane by time, from 1 s before 0 on."""
    times = np.arange(-1.0, 45.0, STEP_S)
    speed, rate = motion(times)
    heading = np.cumsum(rate) * STEP_S
    x, y = (np.cumsum(speed * part(heading)) * STEP_S for part in (np.cos, np.sin))

    def at(time_s: float) -> Pose:
        here = [float(np.interp(time_s, times, one)) for one in (x, y, heading)]
        return Pose(Rotation.from_euler("z", here[2]).as_matrix(), np.array([here[0], here[1], 0.0]))

    return at


def driven(
    motion: Motion,
    moved: Sequence[float] = (0.0, 0.0, 0.0),
    turned_deg: Sequence[float] = (0.0, 0.0, 0.0),
    late_s: float = 0.0,
    scale: float = 1.0,
) -> DriveCheck:
    """Images of a camera that is mounted otherwise than it is said to be, and taken later than stamped."""
    rng, at, check = np.random.default_rng(0), path(motion), DriveCheck()
    turn = Rotation.from_rotvec(np.radians(turned_deg)).as_matrix()
    mounted = Pose(turn @ MOUNTED.rotation, MOUNTED.translation + moved)
    map_from_odom = Pose(Rotation.from_euler("z", 0.7).as_matrix(), np.array([3.0, 1.0, 0.0]))
    for number in range(400):
        stamp_s = RATE_S * number
        camera = map_from_odom @ at(stamp_s + late_s) @ mounted
        noisy = Rotation.from_rotvec(rng.normal(0.0, SIGMA_RAD, 3)).as_matrix() @ camera.rotation
        seen = Pose(noisy, camera.translation + rng.normal(0.0, SIGMA_M, 3)) @ MOUNTED.inverse()
        odometry = at(stamp_s)
        told = Pose(odometry.rotation, scale * odometry.translation)
        check.add(Reading(stamp_s, told, seen, SIGMA_M, SIGMA_RAD), MOUNTED)
    check.conclude()
    return check


def defects(check: DriveCheck) -> set[DriveDefect]:
    assert check.explanation is not None
    return set(check.explanation.defects)


@pytest.mark.parametrize("motion", [turning, straight])
@pytest.mark.parametrize("scale", [1.0, 1.03])
def test_what_is_right_is_not_doubted(motion: Motion, scale: float) -> None:
    """Nor are the wheels' radius errors taken for anything else."""
    check = driven(motion, scale=scale)
    assert defects(check) == set()
    assert check.explanation is not None
    assert drive_warning(check.explanation) is None
    assert check.shift(Pose()) is None


@pytest.mark.parametrize("late_s", [0.05, -0.1])
def test_stamps_are_told(late_s: float) -> None:
    check = driven(turning, late_s=late_s)
    assert defects(check) == {DriveDefect.TIME}
    assert check.explanation is not None
    assert check.explanation.values[6] == pytest.approx(late_s, abs=0.01)
    said = drive_warning(check.explanation) or ""
    assert f"image_time_offset_s {'+' if late_s > 0 else '-'}" in said


@pytest.mark.parametrize("turned_deg", [(0.0, 0.0, 3.0), (1.0, 2.5, 0.0)])
def test_a_turned_mounting_is_told(turned_deg: Sequence[float]) -> None:
    check = driven(turning, turned_deg=turned_deg)
    assert defects(check) == {DriveDefect.ORIENTATION}
    assert check.explanation is not None
    assert np.degrees(check.explanation.values[3:6]) == pytest.approx(turned_deg, abs=0.4)


def test_a_moved_mounting_is_told_but_for_its_height() -> None:
    check = driven(turning, moved=(0.1, 0.05, 0.1))
    assert defects(check) == {DriveDefect.POSITION}
    assert check.explanation is not None
    assert check.explanation.values[:2] == pytest.approx([0.1, 0.05], abs=0.02)
    assert "z not observable" in (drive_warning(check.explanation) or "")


def test_all_of_it_at_once() -> None:
    check = driven(turning, (0.15, 0.0, 0.0), (0.0, 0.0, 3.0), 0.08)
    assert defects(check) == set(DriveDefect)
    assert check.explanation is not None
    assert check.explanation.values[[0, 5, 6]] == pytest.approx([0.15, np.radians(3.0), 0.08], abs=0.02)


def test_what_a_drive_does_not_show_is_said_to_be_unseen() -> None:
    """Straight on at one speed neither place nor time matters; the direction of the camera does."""
    hidden = driven(straight, moved=(0.2, 0.1, 0.0), late_s=0.1)
    assert defects(hidden) == set()
    assert hidden.explanation is not None
    said = drive_summary(hidden.explanation)
    assert "x not observable y not observable z not observable" in said
    assert "roll not observable" in said
    assert "image time not observable on this drive" in said
    turned = driven(straight, turned_deg=(0.0, 0.0, 3.0))
    assert defects(turned) == {DriveDefect.ORIENTATION}


def test_a_pose_is_off_by_what_is_named() -> None:
    check = driven(turning, turned_deg=(0.0, 0.0, 3.0))
    shift = check.shift(Pose())
    assert shift is not None
    assert shift[5] == pytest.approx(np.radians(3.0), abs=0.01)


@pytest.mark.parametrize(
    "how",
    [{"late_s": 0.08}, {"moved": (0.15, 0.0, 0.0), "turned_deg": (0.0, 0.0, 3.0), "late_s": 0.08}],
)
def test_a_pose_is_off_by_all_that_is_named_together(how: dict[str, Any]) -> None:
    """What is late adds to what is mounted otherwise, with the sign that it has."""
    check = driven(turning, **how)
    end = check._last
    assert end is not None
    map_from_odom = Pose(Rotation.from_euler("z", 0.7).as_matrix(), np.array([3.0, 1.0, 0.0]))
    off = pose_difference(end.map_from_rig, map_from_odom @ path(turning)(end.reading.stamp_s))
    shift = check.shift(end.map_from_rig)
    assert shift is not None
    assert shift[[0, 1, 5]] == pytest.approx(off[[0, 1, 5]], abs=0.06)
    assert np.linalg.norm(off[:2]) > 0.07


def test_memory_is_bounded_and_odometry_that_pauses_does_no_harm() -> None:
    check, at = DriveCheck(), path(turning)
    for number in range(4000):
        time_s = 0.01 * number
        if number % 7:
            check.add(Reading(time_s, at(time_s), at(time_s), SIGMA_M, SIGMA_RAD), MOUNTED)
    for number in range(30):  # repeated, and with gaps
        check.add(Reading(50.0 + number, Pose(), Pose(), SIGMA_M, SIGMA_RAD), MOUNTED)
        check.add(Reading(50.0 + number, Pose(), None), MOUNTED)
    check.conclude()
    assert len(check._motions) <= 200
    assert len(check._equations) == len(check._motions)
    assert defects(check) == set()


def test_another_mounting_starts_over() -> None:
    check = driven(turning, late_s=0.1)
    assert check.explanation is not None
    mounted = Pose(MOUNTED.rotation, MOUNTED.translation + 1e-9)  # as an interpolated transform may have it
    check.add(Reading(100.0, Pose(), Pose(), SIGMA_M, SIGMA_RAD), mounted)
    assert check.explanation is not None
    turned = Pose(MOUNTED.rotation @ Rotation.from_euler("y", 1.0, degrees=True).as_matrix(), MOUNTED.translation)
    check.add(Reading(100.1, Pose(), Pose(), SIGMA_M, SIGMA_RAD), turned)
    assert check.explanation is None


def test_a_camera_that_moves_on_the_robot_is_said_to_be_beyond_judgement() -> None:
    """As on a pan-tilt head: no mounting lasts for as many motions as would decide."""
    nothing = Features(*(np.zeros(shape, np.float32) for shape in ((0, 2), 0, (0, 4), 4)), 640, 480)
    camera, at = Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5)), path(turning)
    watch = CalibrationWatch(None)  # type: ignore[arg-type]  # nothing is matched with it
    for number in range(60):
        panned = Pose(Rotation.from_euler("z", 2.0 * (number // 10), degrees=True).as_matrix() @ MOUNTED.rotation)
        views = {"": View(nothing, camera, panned)}
        if number == 30:
            assert watch.drive_summary == ""
        watch.add(NotLocalized(Reason.NO_CANDIDATES), views, RATE_S * number, at(RATE_S * number))
    assert "the camera moves on the robot (a pan-tilt head?)" in watch.drive_summary
    assert watch.drive_warning is None


def test_motions_are_kept_from_one_version_of_a_map_to_the_next() -> None:
    """But none leads from one into the other: a loop closure may have moved the map."""
    check, at = DriveCheck(), path(turning)
    for number in range(300):
        stamp_s = RATE_S * number
        moved = Pose(np.eye(3), np.array([0.0, 5.0 * (number // 25), 0.0]))  # the map, with each version
        if number and number % 25 == 0:
            check.follow()
        check.add(Reading(stamp_s, at(stamp_s), moved @ at(stamp_s), SIGMA_M, SIGMA_RAD), MOUNTED)
    check.conclude()
    assert len(check._motions) >= 20
    assert defects(check) == set()


def test_no_motion_leads_back_to_a_time_that_is_still_to_come() -> None:
    check = driven(turning)
    before = len(check._motions)
    for number in range(3):
        check.add(Reading(RATE_S * number, Pose(), Pose(), SIGMA_M, SIGMA_RAD), MOUNTED)
    assert len(check._motions) == before
    assert check._last is not None
    assert check._last.reading.stamp_s == pytest.approx(RATE_S)


def test_of_a_rig_one_camera_counts_also_where_its_images_are_missing_at_times() -> None:
    nothing = Features(*(np.zeros(shape, np.float32) for shape in ((0, 2), 0, (0, 4), 4)), 640, 480)
    camera = Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5))
    front, rear = View(nothing, camera, MOUNTED), View(nothing, camera, MOUNTED.inverse())
    watch = CalibrationWatch(None)  # type: ignore[arg-type]  # nothing is matched with it
    for number in range(4):
        views = {"rear": rear} if number % 2 else {"front": front, "rear": rear}
        watch.add(NotLocalized(Reason.NO_CANDIDATES), views, 0.2 * number, Pose())
    assert watch._drive._mounting is MOUNTED
    assert [reading.stamp_s for reading in watch._drive._recent] == [0.0, 0.4]
