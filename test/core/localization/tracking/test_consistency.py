"""The gate around predicted poses, and the tracker's belief, with a localizer that answers as it is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization.tracking.consistency import Belief, Odometer, Sighting, distance2
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.types import Localization, Localized, Mode, NotLocalized, Reason

SMALL = np.diag([0.02**2] * 3 + [np.radians(0.5) ** 2] * 3)
ODOM_FROM_MAP = Pose.from_quat_xyzw([0, 0, 0.6, 0.8], [5.0, -3.0, 0.0])


def at(x: float, y: float = 0.0, turn_deg: float = 0.0) -> Pose:
    return Pose(Rotation.from_euler("z", turn_deg, degrees=True).as_matrix(), np.array([x, y, 0.0]))


def disturbed(pose: Pose, error: Array) -> Pose:
    """With an error (position, rotation) about the map's axes, as covariances describe it."""
    return Pose(Rotation.from_rotvec(error[3:]).as_matrix() @ pose.rotation, pose.translation + error[:3])


def test_distance_is_chi_square_when_errors_are_as_said() -> None:
    """Poses far apart, so that the first one's error of orientation moves the prediction."""
    rng, config = np.random.default_rng(0), LocalizerConfig()
    mixing = rng.normal(size=(6, 6)) * 0.01
    covariance = mixing @ mixing.T + SMALL
    then_truth, moved = at(1.0, 2.0, 30.0), at(4.0, -1.0, 20.0)
    way_m, turned_rad, gap_s = 5.0, 0.4, 3.0
    sigma_m = np.linalg.norm([0.03, config.odom_sigma * way_m, config.odom_sigma_m_per_s * gap_s])
    degrees = [1.0, config.odom_sigma_deg_per_m * way_m, config.odom_sigma_deg_per_s * gap_s]
    sigma_rad = np.linalg.norm([*np.radians(degrees), config.odom_sigma * turned_rad])
    found = []
    for _ in range(2000):
        errors = rng.multivariate_normal(np.zeros(6), covariance, 2)
        motion = rng.normal(size=6) * np.repeat([sigma_m, sigma_rad], 3)
        then = Sighting(0.0, disturbed(then_truth, errors[0]), covariance, Pose())
        now_pose = disturbed(disturbed(then_truth @ moved, motion), errors[1])
        now = Sighting(gap_s, now_pose, covariance, moved, way_m, turned_rad)
        predicted = then.moved_to(moved)
        assert predicted is not None
        found.append(distance2(then, predicted, now, config))
    assert np.mean(found) == pytest.approx(6.0, rel=0.05)
    assert 0.0 < np.mean(np.array(found) > 12.59) < 0.08  # 5 % by the table
    assert np.mean(np.array(found) > config.gate_chi2) < 0.005


def test_doubt_fades_with_way_and_time_and_odometry_sharpens_it() -> None:
    config = LocalizerConfig()

    def distance(gap_s: float, way_m: float, odometry: Pose | None) -> float:
        then = Sighting(0.0, at(0.0), SMALL, odometry)
        now = Sighting(gap_s, at(0.8), SMALL, odometry, way_m)
        return distance2(then, at(0.0), now, config)

    standing = distance(0.1, 0.0, Pose())
    assert standing > config.gate_chi2
    assert distance(0.1, 10.0, Pose()) < config.gate_chi2
    assert distance(100.0, 0.0, Pose()) < config.gate_chi2
    assert distance(0.1, 0.0, None) < standing
    assert distance(1.0, 0.0, None) < config.gate_chi2


def test_odometer_sums_the_path() -> None:
    odometer = Odometer()
    for pose in (at(0.0), None, at(1.0, turn_deg=90.0), at(0.0)):
        odometer.add(pose)
    assert odometer.way_m == pytest.approx(2.0)
    assert odometer.turned_rad == pytest.approx(np.pi)


class Scripted:
    """Answers with the poses that were put in, in order; near a prior only with those close to it."""

    def __init__(self, config: LocalizerConfig) -> None:
        self.config, self.pose = config, Pose()

    def localize(self, views: object, prior: Pose | None = None, trust: float = 0.0) -> Localization:
        if not self.pose.is_finite():
            return NotLocalized(Reason.NO_CONSENSUS)
        if prior is not None and pose_error(prior, self.pose)[0] > 0.5:
            return NotLocalized(Reason.TOO_FEW_MATCHES)
        mode = Mode.GLOBAL if prior is None else Mode.TRACKING
        return Localized(self.pose, SMALL, mode, 50, 60, np.zeros((50, 2), np.float32), np.arange(50, dtype=np.int32),
                         (0,), 0.5, 1.0)  # fmt: skip


NOTHING = Pose(translation=np.full(3, np.nan))


class Ride:
    """A tracker and images at 10 Hz: what is seen, and what odometry says."""

    def __init__(self, odometry: bool, **settings: float) -> None:
        self.localizer = Scripted(dataclasses.replace(LocalizerConfig(), **settings))
        self.tracker, self.odometry, self.stamp_s = Tracker(self.localizer), odometry, 0.0

    def see(self, seen: Pose, odom: Pose | None = None) -> Localization:
        self.localizer.pose, self.stamp_s = seen, self.stamp_s + 0.1
        believed = odom if odom is not None else seen
        return self.tracker.process([], self.stamp_s, ODOM_FROM_MAP @ believed if self.odometry else None)

    @property
    def belief(self) -> Belief:
        return self.tracker.consistency.belief


@pytest.mark.parametrize("odometry", [True, False])
def test_a_single_wrong_pose_is_held_back(odometry: bool) -> None:
    ride = Ride(odometry)
    assert ride.belief is Belief.SEARCHING
    for step in range(3):
        assert isinstance(ride.see(at(0.1 * step)), Localized)
    assert ride.belief is Belief.TRACKING
    wrong = ride.see(at(8.0), odom=at(0.3))
    assert isinstance(wrong, NotLocalized)
    assert wrong.reason is Reason.INCONSISTENT
    assert "7.70 m" in wrong.detail
    assert ride.belief is Belief.DOUBTING
    assert ride.tracker.consistency.distance is not None
    assert ride.tracker.consistency.distance**2 > ride.localizer.config.gate_chi2
    assert isinstance(ride.see(at(0.4)), Localized)
    assert isinstance(ride.see(at(-8.0), odom=at(0.5)), NotLocalized)  # the other wrong one is no witness
    assert isinstance(ride.see(at(8.0), odom=at(0.6)), NotLocalized)
    assert ride.tracker.consistency.agreeing == 1


@pytest.mark.parametrize("odometry", [True, False])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_kidnapped_robot_is_believed_after_images_that_agree(odometry: bool, images: int) -> None:
    ride = Ride(odometry, gate_images=images)
    for step in range(3):
        ride.see(at(0.1 * step))
    answers = [ride.see(at(8.0 + 0.1 * step), odom=at(0.2 + 0.1 * step)) for step in range(4)]
    assert [isinstance(answer, Localized) for answer in answers] == [step + 1 >= images for step in range(4)]
    assert ride.belief is Belief.TRACKING


def test_odometry_that_jumps_is_overruled_by_agreeing_images() -> None:
    ride = Ride(True)
    for step in range(3):
        ride.see(at(0.1 * step))
    answers = [ride.see(at(0.3 + 0.1 * step), odom=at(5.3 + 0.1 * step, 2.0)) for step in range(3)]
    assert [isinstance(answer, Localized) for answer in answers] == [False, True, True]


def test_without_odometry_nothing_is_predicted_after_a_long_gap() -> None:
    ride = Ride(False)
    ride.see(at(0.0))
    for _ in range(20):
        assert isinstance(ride.see(NOTHING), NotLocalized)
        assert ride.belief is Belief.LOST
    assert isinstance(ride.see(at(8.0)), Localized)


def test_an_image_without_features_is_one_without_a_pose() -> None:
    ride = Ride(True)
    ride.tracker.miss()
    assert ride.belief is Belief.SEARCHING
    ride.see(at(0.0))
    ride.tracker.miss()
    assert ride.belief is Belief.LOST
    found = ride.see(at(0.1))
    assert isinstance(found, Localized)
    assert found.mode is Mode.TRACKING


def test_a_prior_gates_as_wide_as_its_covariance() -> None:
    for sigma_m, believed in ((0.5, False), (5.0, True)):
        ride = Ride(False)
        ride.tracker.set_prior(at(0.0), 0.0, np.diag([sigma_m**2] * 3 + [1.0] * 3))
        assert isinstance(ride.see(at(6.0)), Localized) == believed


def test_who_knows_where_odometry_is_gates_what_images_say() -> None:
    """As a mapping node does with every version of its map: also the first pose, and after the map was moved."""
    ride, tight = Ride(True), np.diag([0.1**2] * 3 + [0.05**2] * 3)
    ride.tracker.expect(ODOM_FROM_MAP.inverse(), tight)
    assert isinstance(ride.see(at(5.0), odom=at(0.0)), NotLocalized)
    assert ride.belief is Belief.DOUBTING
    assert isinstance(ride.see(at(0.1)), Localized)
    ride.tracker.expect(at(3.0) @ ODOM_FROM_MAP.inverse(), tight)  # by a loop closure
    assert isinstance(ride.see(at(3.2), odom=at(0.2)), Localized)
    ride.tracker.expect(ODOM_FROM_MAP.inverse(), tight)
    ride.tracker.reset()
    assert isinstance(ride.see(at(7.0), odom=at(0.3)), Localized)
    blind = Ride(False)
    blind.tracker.expect(Pose(), tight)
    assert isinstance(blind.see(at(7.0)), Localized)  # without odometry it is nothing


@pytest.mark.parametrize("speed_m_s", [1.0, 12.0, 20.0])
def test_a_fast_camera_without_odometry_is_followed(speed_m_s: float) -> None:
    """At 10 Hz: the first two images tell the velocity, under a prior as wide as a car is fast."""
    ride = Ride(False)
    answers = [ride.see(at(speed_m_s * 0.1 * step)) for step in range(10)]
    assert all(isinstance(answer, Localized) for answer in answers)
    assert answers[-1].mode is Mode.TRACKING  # the velocity predicts where to look


def test_a_known_velocity_narrows_the_gate() -> None:
    ride = Ride(False)
    for step in range(4):
        assert isinstance(ride.see(at(1.2 * step)), Localized)
    assert isinstance(ride.see(at(3.6)), NotLocalized)  # from 12 m/s to a stop within a tenth of a second
    assert isinstance(ride.see(at(6.0)), Localized)
