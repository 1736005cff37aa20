"""Poses from three points, many samples at once."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.localization.absolute_pose.p3p import solve_p3p


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rays, points, rotations and translations (camera_from_map) of so many views of three points each."""
    rng = np.random.default_rng(seed)
    directions = np.concatenate([rng.uniform(-1, 1, (3, 2, count)), np.ones((3, 1, count))], axis=1)
    rays = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    rotations = Rotation.random(count, random_state=seed).as_matrix().transpose(1, 2, 0)
    translations = rng.normal(0, 20, (3, count))
    seen = rays * rng.uniform(1, 8, (3, 1, count))
    return rays, np.einsum("jih,kjh->kih", rotations, seen - translations), rotations, translations


def test_the_true_pose_is_among_the_solutions_of_every_sample() -> None:
    rays, points, rotations, translations = samples(2000)
    found, shifts, sample = solve_p3p(rays, points)
    off = np.abs(found - rotations[:, :, sample]).max(axis=(0, 1)) + np.abs(shifts - translations[:, sample]).max(
        axis=0
    )
    nearest = np.full(2000, np.inf)
    np.minimum.at(nearest, sample, off)
    assert np.percentile(nearest, 99) < 1e-6
    assert nearest.max() < 1e-3


def test_every_solution_puts_the_points_on_their_rays_in_front() -> None:
    rays, points, _, _ = samples(500, seed=1)
    found, shifts, sample = solve_p3p(rays, points)
    assert np.bincount(sample, minlength=500).max() <= 4
    seen = np.einsum("ijh,kjh->kih", found, points[:, :, sample]) + shifts
    depths = (seen * rays[:, :, sample]).sum(axis=1)
    assert (depths > 0).all()
    assert np.abs(seen - depths[:, None] * rays[:, :, sample]).max() < 1e-5
    product = np.einsum("ijh,kjh->ikh", found, found)
    assert np.abs(product - np.eye(3)[:, :, None]).max() < 1e-6
    assert np.allclose(np.linalg.det(found.transpose(2, 0, 1)), 1)


def test_points_on_a_line_or_twice_the_same_give_no_pose() -> None:
    rays, points, _, _ = samples(3)
    points[2, :, 0] = 2 * points[1, :, 0] - points[0, :, 0]
    points[1, :, 1] = points[0, :, 1]
    rays[1, :, 1] = rays[0, :, 1]
    found, shifts, sample = solve_p3p(rays, points)
    assert set(sample.tolist()) == {2}
    assert np.isfinite(found).all()
    assert np.isfinite(shifts).all()


def test_nothing_gives_nothing() -> None:
    found, shifts, sample = solve_p3p(np.zeros((3, 3, 0)), np.zeros((3, 3, 0)))
    assert found.shape == (3, 3, 0)
    assert shifts.shape == (3, 0)
    assert len(sample) == 0
