from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drive import CAMERA, INFO, Drive, drive
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.builder import Keyframe, Placed, build_from_keyframes
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import save_map
from hfnet_core.types import Camera


def build(scene: Drive, **settings: object) -> LandmarkMap:
    return build_from_keyframes(Placed(scene.keyframes), INFO, MapBuildConfig(**settings))  # type: ignore[arg-type]


def landmark_errors(found: LandmarkMap, scene: Drive) -> np.ndarray:
    distances, _ = cKDTree(scene.points).query(found.landmarks_xyz)
    return np.asarray(distances)


def test_exact_poses_give_exact_landmarks() -> None:
    scene = drive()
    found = build(scene, refine_poses=False)
    assert found.landmarks > 150
    assert np.quantile(landmark_errors(found, scene), 0.95) < 1e-3
    assert found.cameras == (CAMERA,)
    assert found.pose_sigma_m == 0


def test_noisy_poses_are_improved_and_stay_metric() -> None:
    scene = drive(views=16, noise_px=0.5, noise_m=0.03, noise_deg=0.5)
    found = build(scene)
    before = np.array([pose_error(k.map_from_camera, t) for k, t in zip(scene.keyframes, scene.truth, strict=True)])
    after = np.array([pose_error(found.map_from_camera(i), t) for i, t in enumerate(scene.truth)])
    assert after[:, 0].mean() < 0.6 * before[:, 0].mean()
    assert after[:, 1].mean() < 0.6 * before[:, 1].mean()
    unrefined = build(scene, refine_poses=False)
    assert found.observations / found.landmarks > 2 * unrefined.observations / unrefined.landmarks
    assert np.median(landmark_errors(found, scene)) < min(0.06, np.median(landmark_errors(unrefined, scene)))
    assert 0.005 < found.pose_sigma_m < 0.05


def test_a_calibration_of_another_resolution_is_refused_where_poses_are_given() -> None:
    given = Camera("PINHOLE", 640, 480, tuple(value * 2 / 3 for value in (500.0, 500.0, 320.0, 240.0)))
    placed = Placed(drive(views=16, noise_px=0.3, given=given).keyframes)
    with pytest.raises(DatasetError, match=r"calibration cannot be true: the images fit .* says 333.*--trust-calib"):
        build_from_keyframes(replace(placed, refuse_calibrations=True), INFO, MapBuildConfig())
    assert build_from_keyframes(placed, INFO, MapBuildConfig()).keyframes == 16  # trusted


def test_a_wrong_calibration_is_corrected_and_queries_get_the_correction() -> None:
    given = Camera("PINHOLE", 640, 480, (485.0, 485.0, 320.0, 240.0))
    scene = drive(views=16, noise_px=0.3, given=given)
    found = build(scene, pose_prior_sigma_m=0.01, pose_prior_sigma_deg=0.1)
    refined = found.calibration_for(given)
    assert abs(refined.focal_length[0] - 500) < 3
    assert refined.params[4] == pytest.approx(-0.05, abs=0.02)
    assert found.calibration_for(given.scaled(320, 240)) == refined.scaled(320, 240)
    other = Camera("PINHOLE", 640, 480, (700.0, 700.0, 320.0, 240.0))
    assert found.calibration_for(other) is other


def test_a_calibration_that_the_images_correct_by_much_is_said(caplog: pytest.LogCaptureFixture) -> None:
    given = Camera("PINHOLE", 640, 480, (560.0, 560.0, 320.0, 240.0))
    build(drive(views=16, noise_px=0.3, given=given), pose_prior_sigma_m=0.01, pose_prior_sigma_deg=0.1)
    assert "the calibration of 640x480 says 560" in caplog.text


def test_queries_of_another_shape_keep_their_calibration() -> None:
    wide = Camera("SIMPLE_RADIAL", 640, 480, (485.0, 320.0, 240.0, 0.0))
    found = build(drive(views=6, given=wide))
    assert found.calibration_for(wide.scaled(320, 240)).width == 320
    upright = Camera("SIMPLE_RADIAL", 480, 640, (485.0, 240.0, 320.0, 0.0))
    assert found.calibration_for(upright) is upright


def test_orientations_do_not_drift_from_their_priors() -> None:
    scene = drive(views=16, noise_px=0.5)
    found = build(scene)
    assert max(pose_error(found.map_from_camera(i), t)[1] for i, t in enumerate(scene.truth)) < 0.3


def test_observations_fit_their_keyframes() -> None:
    scene = drive()
    found = build(scene, refine_poses=False)
    for keyframe in range(found.keyframes):
        rows = found.observations_of(keyframe)
        assert (found.observation_keyframes[rows] == keyframe).all()
        near = cKDTree(scene.keyframes[keyframe].features.keypoints_px).query(found.observation_px[rows])[0]
        assert (near == 0).all()
    first, weights = found.covisible_with(3)
    assert 3 not in first
    assert (np.diff(weights) <= 0).all()
    shared = len(np.intersect1d(found.landmarks_of(3), found.landmarks_of(int(first[0]))))
    assert shared == weights[0]


def test_the_same_input_gives_the_same_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    files = []
    for name in ("a.hfmap", "b.hfmap"):
        scene = drive(views=8, noise_px=0.5, noise_m=0.02)
        save_map(build(scene), tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_poses_in_another_convention_are_named_as_the_cause() -> None:
    scene = drive()
    body = Pose(Rotation.from_euler("x", 90, degrees=True).as_matrix(), np.zeros(3))
    turned = [Keyframe(k.name, k.stamp_ns, 0, k.camera, k.map_from_camera @ body, k.features) for k in scene.keyframes]
    with pytest.raises(DatasetError, match="optical frame"):
        build(Drive(scene.points, scene.truth, turned))


def test_a_camera_that_stands_still_gives_no_map() -> None:
    scene = drive(views=1)
    with pytest.raises(DatasetError, match="no landmark could be triangulated from 1 keyframes"):
        build(scene)
