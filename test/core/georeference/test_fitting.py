"""Fixes of drives whose place on Earth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose, Similarity
from hfnet_core.georeference.fitting import Level, Sightings, fit_earth

LEVEL = Level()
ARM = np.array([0.3, 0.1, 0.8])  # of the antenna, axes of the robot


def drive(
    truth: Similarity,
    noise_m: float = 0.5,
    *,
    fixes: int = 200,
    straight: bool = False,
    size_m: float = 40.0,
    seed: int = 0,
) -> Sightings:
    """Fixes along an eight, or a line, of some size in metres on Earth; the map's units are those of `truth`."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, fixes)
    way = size_m * np.stack([np.sin(turn), 0 * turn if straight else np.sin(2 * turn) / 2, 0.02 * np.cos(turn)], axis=1)
    heading = np.gradient(way[:, 1]), np.gradient(way[:, 0])
    arms = Rotation.from_euler("z", np.arctan2(*heading)[:, None]).apply(ARM)
    back = Pose(truth.pose.rotation).inverse()
    enu = truth.pose.translation + way + arms + rng.normal(0, [noise_m, noise_m, 2 * noise_m], (fixes, 3))
    sigmas = np.tile([noise_m, 2 * noise_m], (fixes, 1))
    return Sightings(back.apply(way) / truth.scale, back.apply(arms), enu, sigmas, np.arange(fixes) * 1.0)


def turned(degrees: float, scale: float = 1.0, tilt: Array | None = None) -> Similarity:
    rotation = Rotation.from_euler("z", degrees, degrees=True) * Rotation.from_rotvec(
        np.zeros(3) if tilt is None else tilt
    )
    return Similarity(scale, Pose(rotation.as_matrix(), np.array([12.0, -7.0, 3.0])))


def heading_off(found: Similarity, truth: Similarity) -> float:
    """Degrees about the vertical."""
    turn = Rotation.from_matrix(found.pose.rotation @ truth.pose.rotation.T)
    return abs(float(turn.as_euler("ZYX", degrees=True)[0]))


def off(found: Similarity, truth: Similarity) -> tuple[float, float]:
    """Metres at the origin, degrees."""
    turn = Rotation.from_matrix(found.pose.rotation.T @ truth.pose.rotation)
    return float(np.linalg.norm(found.pose.translation - truth.pose.translation)), float(np.degrees(turn.magnitude()))


@pytest.mark.parametrize("degrees", [0, 75, -170])
def test_a_noisy_drive_tells_origin_and_heading(degrees: float) -> None:
    truth = turned(degrees)
    found = fit_earth(drive(truth), LEVEL, scaled=False)
    metres, turn = off(found.enu_from_map, truth)
    assert metres < 0.15
    assert turn < 1.0  # altitudes are half as good
    assert heading_off(found.enu_from_map, truth) < 0.3
    assert found.enu_from_map.scale == 1.0
    assert found.residual_m == pytest.approx(0.7, abs=0.08)  # 0.5 m east and north


def test_the_scale_of_a_map_without_metres_is_found_within_a_percent() -> None:
    truth = turned(33, scale=3.7)
    found = fit_earth(drive(truth), LEVEL, scaled=True)
    assert found.enu_from_map.scale == pytest.approx(3.7, rel=0.01)
    assert abs(found.enu_from_map.scale / 3.7 - 1) < 3 * found.scale_sigma
    assert found.scale_sigma < 0.01


def test_wild_fixes_are_outvoted() -> None:
    truth = turned(120)
    clean = drive(truth)
    enu = clean.enu.copy()
    enu[50:120] += [30.0, -45.0, 20.0]  # a third of the drive between houses
    enu[5] = [4e6, 1e6, 0]
    found = fit_earth(replace(clean, enu=enu), LEVEL, scaled=True)
    metres, turn = off(found.enu_from_map, truth)
    assert metres < 0.3
    assert turn < 1.0
    assert heading_off(found.enu_from_map, truth) < 0.3
    assert found.enu_from_map.scale == pytest.approx(1.0, rel=0.01)
    assert 120 <= found.agreeing <= 130


def test_receivers_that_boast_do_not_lose_good_fixes() -> None:
    truth = turned(10)
    seen = drive(truth)
    found = fit_earth(replace(seen, sigmas_m=seen.sigmas_m / 50), LEVEL, scaled=False)
    assert off(found.enu_from_map, truth)[0] < 0.15
    assert found.agreeing > 0.95 * found.used


def test_accurate_fixes_count_for_more() -> None:
    truth = turned(10)
    seen, rough = drive(truth, 0.02), drive(truth, 5.0, seed=1)
    half = np.arange(len(seen)) % 2 == 0
    mixed = replace(
        seen,
        enu=np.where(half[:, None], seen.enu, rough.enu),
        sigmas_m=np.where(half[:, None], seen.sigmas_m, rough.sigmas_m),
    )
    assert off(fit_earth(mixed, LEVEL, scaled=False).enu_from_map, truth)[0] < 0.02


def test_altitudes_may_be_unknown() -> None:
    truth = turned(-60)
    seen = drive(truth)
    flat = seen.enu.copy()
    flat[:, 2] = np.nan
    found = fit_earth(replace(seen, enu=flat), LEVEL, scaled=False).enu_from_map
    assert found.pose.translation[:2] == pytest.approx(truth.pose.translation[:2], abs=0.15)


def test_a_straight_drive_of_a_level_map_is_enough() -> None:
    truth = turned(45)
    found = fit_earth(drive(truth, straight=True), LEVEL, scaled=True)
    metres, turn = off(found.enu_from_map, truth)
    assert metres < 0.3
    assert turn < 1.0


@pytest.mark.parametrize("sigma_deg", [1.0, 10.0])
def test_a_drive_on_a_line_does_not_hang_upside_down(sigma_deg: float) -> None:
    truth = turned(45)
    seen = drive(truth, 0.003, fixes=6, size_m=1.2)
    way = np.linspace(0, 1.2, 6)[:, None] * np.array([1.0, 0.5, 0.0])
    back = Pose(truth.pose.rotation).inverse()
    straight = replace(seen, centres=back.apply(way), arms=np.zeros((6, 3)), enu=truth.pose.translation + way)
    found = fit_earth(straight, Level(sigma_deg=sigma_deg), scaled=False).enu_from_map
    assert found.pose.rotation[2, 2] > 0.99
    assert heading_off(found, truth) < 0.5


def test_a_map_that_is_not_level_at_all_is_brought_upright_by_the_fixes() -> None:
    truth = turned(45, scale=2.0, tilt=np.radians([-90.0, 0, 0]))  # in the frame of its first camera
    found = fit_earth(drive(truth), LEVEL, scaled=True)
    metres, turn = off(found.enu_from_map, truth)
    assert metres < 0.5
    assert turn < 2.0


def test_a_drive_within_the_errors_of_the_receiver_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"covers .* too short a baseline for a direction, at least 12 m are needed"):
        fit_earth(drive(turned(0), 2.5, size_m=0.5), LEVEL, scaled=False)


def test_a_short_drive_with_centimetre_fixes_is_enough() -> None:
    truth = turned(80)
    found = fit_earth(drive(truth, 0.01, size_m=1.0), LEVEL, scaled=True)
    assert off(found.enu_from_map, truth)[1] < 0.5
    assert found.enu_from_map.scale == pytest.approx(1.0, rel=0.01)


def test_fixes_of_another_drive_are_refused() -> None:
    seen = drive(turned(0))
    rng = np.random.default_rng(3)
    with pytest.raises(DatasetError, match=r"different drives|fixes agree"):
        fit_earth(replace(seen, enu=rng.uniform(-40, 40, seen.enu.shape)), LEVEL, scaled=False)


def test_too_few_fixes_are_refused() -> None:
    with pytest.raises(DatasetError, match="4 fixes were taken while the camera's place is known, 5 are needed"):
        fit_earth(drive(turned(0), fixes=4), LEVEL, scaled=False)


def test_the_antenna_beside_the_camera_is_allowed_for() -> None:
    truth = turned(20)
    found = fit_earth(drive(truth, 0.01), LEVEL, scaled=True)
    assert off(found.enu_from_map, truth)[0] < 0.01
