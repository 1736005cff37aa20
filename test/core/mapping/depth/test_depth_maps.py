"""What depth images do for a map: metres, and landmarks where nothing can be triangulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drive import CAMERA, INFO, drive
from scipy.spatial.transform import Rotation

from hfnet_core.config import LocalizerConfig, MapBuildConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.images.depth import depth_sigma_m
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.uncertainty.landmarks import landmark_covariance
from hfnet_core.maintenance.align import moved_map
from hfnet_core.maintenance.extend import extend_with_keyframes
from hfnet_core.maintenance.joint import Cameras, Member, join, known_points, measured_matches, members_of
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.depth.landmarks import MeasuredView, Points, fill_up
from hfnet_core.mapping.depth.scale import compare
from hfnet_core.mapping.keyframes.reading import Keyframe, Reading
from hfnet_core.mapping.pose_modes import place_keyframes
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Features, Localized, Ranges

CONFIG = MapBuildConfig()


def measured(keyframe: Keyframe, truth: Pose, points: np.ndarray, seed: int = 0, scale: float = 1.0) -> Keyframe:
    """The keyframe with the depth of each keypoint, with a sensor's noise, times `scale`."""
    seen = truth.inverse().apply(points)
    pixels = project_in_camera(CAMERA, seen)
    nearest = np.array([np.nanargmin(np.linalg.norm(pixels - one, axis=1)) for one in keyframe.features.keypoints_px])
    far = seen[nearest, 2]
    sigma = depth_sigma_m(far)
    noisy = scale * (far + np.random.default_rng(seed).normal(0, sigma))
    return replace(keyframe, ranges=Ranges(noisy.astype(np.float32), (scale * sigma).astype(np.float32)))


def turning(views: int = 6, landmarks: int = 400, noise_px: float = 0.3) -> tuple[list[Keyframe], np.ndarray]:
    """A camera that turns on the spot amid points, and the points."""
    rng = np.random.default_rng(3)
    points = rng.uniform((-4, -1.5, 2), (4, 1.5, 5), (landmarks, 3))
    descriptors = rng.normal(size=(landmarks, 32))
    keyframes = []
    for index in range(views):
        pose = Pose(Rotation.from_euler("y", 6.0 * index - 15, degrees=True).as_matrix(), np.zeros(3))
        keyframes.append(seen_from(pose, points, descriptors, index, noise_px))
    return keyframes, points


def seen_from(pose: Pose, points: np.ndarray, descriptors: np.ndarray, index: int, noise_px: float = 0.3) -> Keyframe:
    rng = np.random.default_rng(100 + index)
    pixels = project_in_camera(CAMERA, pose.inverse().apply(points)) + rng.normal(0, noise_px, (len(points), 2))
    with np.errstate(invalid="ignore"):
        seen = rng.permutation(np.flatnonzero(((pixels >= 0) & (pixels < (640, 480))).all(axis=1)))
    own = descriptors[seen] + rng.normal(0, 0.1, (len(seen), 32))
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    features = Features(
        pixels[seen].astype(np.float32), np.linspace(1, 0.1, len(seen)).astype(np.float32), own.astype(np.float32),
        np.array([1.0, 0.0], np.float32), 640, 480,
    )  # fmt: skip
    return measured(Keyframe(f"0/{index:06d}", index * 10**8, 0, CAMERA, pose, features), pose, points, index)


@pytest.fixture(scope="module")
def turned_map() -> LandmarkMap:
    keyframes, _ = turning()
    return build_from_keyframes(Placed(keyframes), INFO, CONFIG)


def test_a_camera_that_only_turns_has_landmarks_by_depth_alone(turned_map: LandmarkMap) -> None:
    keyframes, points = turning()
    with pytest.raises(DatasetError, match="no landmark could be triangulated"):
        build_from_keyframes(Placed([replace(item, ranges=None) for item in keyframes]), INFO, CONFIG)
    assert turned_map.measured.all()
    assert np.diff(turned_map.keyframe_offsets).min() >= 150
    apart = np.linalg.norm(turned_map.landmarks_xyz[:, None] - points[None], axis=2).min(axis=1)
    assert (apart <= 3 * turned_map.landmark_sigmas_m + 0.01).mean() > 0.95
    assert turned_map.provenance["statistics"]["landmarks_by_depth"] == turned_map.landmarks


def test_several_views_of_one_point_are_one_landmark_and_know_it_better(turned_map: LandmarkMap) -> None:
    seen = np.diff(turned_map.landmark_offsets)
    assert seen.max() >= 4
    many, few = turned_map.landmark_sigmas_m[seen >= 4], turned_map.landmark_sigmas_m[seen == 2]
    assert np.median(many) < 0.85 * np.median(few)


def test_a_place_is_found_again_by_them_with_honest_uncertainty(turned_map: LandmarkMap) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform((-4, -1.5, 2), (4, 1.5, 5), (400, 3))
    descriptors = rng.normal(size=(400, 32))
    truth = Pose(Rotation.from_euler("y", 3, degrees=True).as_matrix(), np.array([0.3, 0.1, 0.2]))
    query = seen_from(truth, points, descriptors, 50)
    localizer = Localizer(turned_map, LocalizerConfig(search_budget_ms=1000.0))
    found = localizer.localize([View(query.features, CAMERA, ranges=query.ranges)])
    assert isinstance(found, Localized), found
    metres, _ = pose_error(found.map_from_camera, truth)
    assert metres < 0.1
    spread = landmark_covariance(turned_map, np.arange(50, dtype=np.int32))
    assert np.sqrt(np.linalg.eigvalsh(spread)[:, -1]) == pytest.approx(turned_map.landmark_sigmas_m[:50], rel=0.1)


def test_where_triangulation_sees_enough_depth_adds_nothing() -> None:
    scene = drive(views=10, landmarks=700)
    plain = build_from_keyframes(Placed(scene.keyframes), INFO, CONFIG)
    with_depth = [measured(k, t, scene.points) for k, t in zip(scene.keyframes, scene.truth, strict=True)]
    some = build_from_keyframes(Placed(with_depth), INFO, MapBuildConfig(depth_landmarks=50, adjust_depth=False))
    assert np.array_equal(some.landmarks_xyz, plain.landmarks_xyz)
    assert some.provenance["depth"]["ratio"] == pytest.approx(1.0, abs=0.01)


def test_poses_whose_metres_are_not_those_of_the_depth_are_named(caplog: pytest.LogCaptureFixture) -> None:
    scene = drive(views=10, landmarks=300)
    short = [measured(k, t, scene.points, scale=0.9) for k, t in zip(scene.keyframes, scene.truth, strict=True)]
    made = build_from_keyframes(Placed(short), INFO, CONFIG)
    assert made.provenance["depth"]["ratio"] == pytest.approx(0.9, abs=0.01)
    assert "the poses and depth images disagree about distances by 10 %" in caplog.text


def test_odometry_whose_metres_are_too_long_is_put_right_by_depth() -> None:
    scene = drive(views=12, landmarks=300, noise_px=0.5)
    odometry = [Pose(pose.rotation, 1.03 * pose.translation) for pose in scene.truth]
    keyframes = [
        replace(measured(k, t, scene.points, index), map_from_camera=o, drifting=True)
        for index, (k, t, o) in enumerate(zip(scene.keyframes, scene.truth, odometry, strict=True))
    ]

    def length(config: MapBuildConfig) -> float:
        places = build_from_keyframes(Placed(keyframes), INFO, config).keyframe_poses[:, :, 3]
        return float(np.linalg.norm(places[-1] - places[0]))

    way = np.linalg.norm(scene.truth[-1].translation - scene.truth[0].translation)
    assert length(MapBuildConfig(adjust_depth=False)) == pytest.approx(1.03 * way, rel=0.005)
    assert length(CONFIG) == pytest.approx(way, rel=0.003)


def test_images_alone_have_the_scale_of_their_depth() -> None:
    scene = drive(views=12, landmarks=400, noise_px=0.3)
    keyframes = [
        replace(measured(k, t, scene.points, index), map_from_camera=Pose())
        for index, (k, t) in enumerate(zip(scene.keyframes, scene.truth, strict=True))
    ]
    placed = place_keyframes(keyframes, ["map"], CONFIG)
    assert placed.provenance["scale"]["source"] == "depth"
    ends = [item.map_from_camera for item in (placed.keyframes[0], placed.keyframes[-1])]
    way = np.linalg.norm(scene.truth[-1].translation - scene.truth[0].translation)
    assert np.linalg.norm(ends[1].translation - ends[0].translation) == pytest.approx(way, rel=0.01)


def test_poses_of_images_alone_give_way_to_their_depth() -> None:
    scene = drive(views=12, landmarks=400, noise_px=0.3)
    bent = [Pose(pose.rotation, pose.translation * (1.0, 1.0, 1.2)) for pose in scene.truth]  # as images alone may be
    keyframes = [
        replace(measured(k, t, scene.points, index), map_from_camera=pose)
        for index, (k, t, pose) in enumerate(zip(scene.keyframes, scene.truth, bent, strict=True))
    ]

    def off_m(looseness: float) -> float:
        poses = build_from_keyframes(Placed(keyframes, looseness=looseness), INFO, CONFIG).keyframe_poses
        return float(np.linalg.norm(poses[-1, :, 3] - poses[0, :, 3] - scene.truth[-1].translation))

    assert off_m(10.0) < 0.5 * off_m(1.0)
    bare = [replace(item, map_from_camera=Pose()) for item in keyframes]
    assert place_keyframes(bare, ["map"], CONFIG).looseness > 1
    assert place_keyframes(bare, ["map"], MapBuildConfig(adjust_depth=False)).looseness == 1


def test_few_images_with_depth_tell_no_scale() -> None:
    points = np.arange(30, dtype=np.int64), np.full(30, 2.0)
    ranges = Ranges(np.full(30, 3.0, np.float32), np.full(30, 0.02, np.float32))
    found = compare([points] * 4, [ranges] * 3 + [None])
    assert found is not None
    assert (found.ratio, found.images) == (pytest.approx(1.5), 3)
    assert compare([points] * 4, [ranges] * 2 + [None] * 2) is None


def test_measurements_that_contradict_each_other_stay_apart() -> None:
    pixels = np.array([[320.0, 240.0], [400.0, 240.0]], np.float32)

    def view(metres: list[float]) -> MeasuredView:
        return MeasuredView(CAMERA, Pose(), pixels, Ranges(np.float32(metres), np.float32([0.01, 0.01])))

    nothing = Points(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros(0))
    matches = {(0, 1): np.array([[0, 0], [1, 1]], np.int32)}
    found = fill_up(nothing, [view([2.0, 2.0]), view([2.01, 3.0])], lambda: matches, 10)
    assert np.bincount(found.rows[:, 0]).tolist() == [2, 1, 1]
    assert found.xyz[0] == pytest.approx([0, 0, 2.005], abs=0.01)
    assert fill_up(nothing, [view([2.0, 2.0])], dict, 1).rows.tolist() == [[0, 0, 0]]
    assert fill_up(nothing, [view([np.nan, 2.0])], dict, 0) is nothing


def test_a_file_keeps_what_depth_told_and_other_maps_do_not_change(turned_map: LandmarkMap, tmp_path: Path) -> None:
    save_map(turned_map, tmp_path / "a.hfmap")
    again = load_map(tmp_path / "a.hfmap")
    assert np.array_equal(again.landmark_sigmas_m, turned_map.landmark_sigmas_m)
    kept = np.arange(turned_map.keyframes) != 0
    part = keep_keyframes(again, kept)
    assert len(part.landmark_sigmas_m) == part.landmarks
    assert (np.diff(part.landmark_offsets) == 1).any()
    larger = moved_map(again, Similarity(2.0, Pose()))
    assert np.allclose(larger.landmark_sigmas_m, 2 * again.landmark_sigmas_m)


def test_extending_keeps_landmarks_by_depth(turned_map: LandmarkMap) -> None:
    rng = np.random.default_rng(3)
    points, descriptors = rng.uniform((-4, -1.5, 2), (4, 1.5, 5), (400, 3)), rng.normal(size=(400, 32))
    later = [
        replace(
            seen_from(Pose(np.eye(3), np.array([0.02 * n, 0, 0])), points, descriptors, 60 + n),
            recording=1,
            name=f"1/{n}",
        )
        for n in range(3)
    ]
    found = extend_with_keyframes(turned_map, [Reading("later", later, {})], CONFIG).landmark_map
    assert found.keyframes == turned_map.keyframes + 3
    first = np.diff(found.keyframe_offsets)[: turned_map.keyframes]
    assert first.min() >= 100
    apart = np.linalg.norm(found.landmarks_xyz[:, None] - points[None], axis=2).min(axis=1)
    assert np.median(apart) < 0.03


def test_depth_of_what_is_added_to_a_map_counts_in_its_adjustment() -> None:
    """Places that nobody has localized, whose metres are too long: what extends and merges maps knows better."""
    scene = drive(views=12, landmarks=300, noise_px=0.5)
    members = []
    for index, (keyframe, truth) in enumerate(zip(scene.keyframes, scene.truth, strict=True)):
        deep = measured(keyframe, truth, scene.points, index)
        long = Pose(truth.rotation, 1.03 * truth.translation)
        members.append(Member(deep.name, deep.stamp_ns, 0, long, deep.features, 10.0, index, deep.ranges))
    pairs = [(first, second) for second in range(12) for first in range(max(0, second - 3), second)]

    def length(config: MapBuildConfig) -> float:
        poses = join(members, [CAMERA], pairs, config).poses
        return float(np.linalg.norm(poses[-1].translation - poses[0].translation))

    way = np.linalg.norm(scene.truth[-1].translation - scene.truth[0].translation)
    assert length(MapBuildConfig(adjust_depth=False)) == pytest.approx(1.03 * way, rel=0.01)
    assert length(CONFIG) == pytest.approx(way, rel=0.005)


def test_what_a_map_knows_of_a_landmark_is_told_by_its_keyframes_together(turned_map: LandmarkMap) -> None:
    """Each time a map is extended it would be known better else, though nothing was measured anew."""
    members = members_of(turned_map, Cameras(turned_map))
    known, same = known_points(turned_map), measured_matches(turned_map)
    again = join(members, list(turned_map.cameras), [], CONFIG, known, refine_poses=False, same=same)
    before, after = np.sort(turned_map.landmark_sigmas_m), np.sort(again.sigma_m)
    assert len(after) == pytest.approx(len(before), rel=0.02)
    assert np.median(after) == pytest.approx(np.median(before), rel=0.02)
