from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.keyframes.selection import FrameSummary, KeyframeChooser, select_keyframes, sharpness
from hfnet_core.mapping.pairing.pair_matching import angular_epipolar_error, match_descriptors
from hfnet_core.mapping.pairing.pairs import select_pairs, sequence_pairs, view_overlap
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))


def looking(yaw_deg: float, x: float = 0.0) -> Pose:
    return Pose(Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix(), np.array([x, 0.0, 0.0]))


def test_keyframes_follow_motion_and_rotation() -> None:
    frames = [FrameSummary(i, looking(0, 0.05 * i), 1.0) for i in range(21)]
    assert select_keyframes(frames, 0.19, 10) == [0, 4, 8, 12, 16, 20]
    frames = [FrameSummary(i, looking(2.0 * i), 1.0) for i in range(11)]
    assert select_keyframes(frames, 0.2, 5) == [0, 3, 6, 9]
    assert select_keyframes([], 0.2, 5) == []


def test_blurred_frames_are_passed_over_but_not_for_ever() -> None:
    frames = [FrameSummary(i, looking(0, 0.1 * i), 0.1 if i in (2, 3) else 1.0) for i in range(8)]
    assert select_keyframes(frames, 0.2, 10)[:3] == [0, 4, 6]
    frames = [FrameSummary(i, looking(0, 0.1 * i), 0.1 if 2 <= i < 8 else 1.0) for i in range(40)]
    chosen = select_keyframes(frames, 0.2, 10)
    assert max(np.diff(chosen)) <= 4
    few = [FrameSummary(i, looking(0, 0.2 * i), 0.4 if 0 < i < 11 else 1.0) for i in range(12)]
    few[5] = FrameSummary(5, looking(0, 1.0), 0.1)
    assert select_keyframes(few, 0.19, 10) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]  # sharp ends make no rule


def test_sharpness_sees_blur_not_brightness() -> None:
    image = np.random.default_rng(0).integers(0, 100, (240, 320)).astype(np.uint8)
    blurred = ((image.astype(float) + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3).astype(np.uint8)
    assert sharpness(blurred) < 0.5 * sharpness(image)
    assert sharpness(image * 2) == pytest.approx(sharpness(image), rel=1e-3)
    assert sharpness(np.dstack([image] * 3)) == sharpness(image)


def test_overlap_prefers_the_same_view() -> None:
    poses = [looking(0), looking(10), looking(90), looking(0, 1.0), looking(180)]
    (scores,) = view_overlap(poses, [CAMERA] * 5, 3.0, [np.arange(1, 5)])[:1] or ([],)
    assert scores[0] > 0.5
    assert scores[1] == 0
    assert 0.3 < scores[2] < 1
    assert scores[3] == 0


def test_pairs_find_a_revisit_and_skip_strangers() -> None:
    poses = [looking(0, 0.3 * i) for i in range(10)] + [looking(180, 0.3 * i) for i in range(10)] + [looking(0, 0.1)]
    descriptors = np.eye(21, dtype=np.float32)
    pairs = set(select_pairs(poses, [CAMERA] * 21, descriptors, per_keyframe=12, depth_m=2.0))
    assert (0, 20) in pairs
    assert all(first < second for first, second in pairs)
    assert pairs == set(select_pairs(poses, [CAMERA] * 21, descriptors, per_keyframe=12, depth_m=2.0))


def test_pairs_by_appearance() -> None:
    poses = [looking(0, 100.0 * i) for i in range(8)]
    descriptors = np.eye(8, dtype=np.float32)
    descriptors[7] = descriptors[0]
    assert (0, 7) in select_pairs(poses, [CAMERA] * 8, descriptors, per_keyframe=4, depth_m=2.0)


def test_sequences_end_with_their_recording() -> None:
    pairs = sequence_pairs([0, 0, 1, 1])
    assert pairs == [(0, 1), (2, 3)]
    assert select_pairs([], [], np.zeros((0, 4), np.float32), per_keyframe=5, depth_m=1.0) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 600), st.integers(0, 600), st.integers(0, 10**6))
def test_matching_equals_the_definition(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.normal(size=(count, 8)) for count in (first, second))
    shared = min(first, second) // 2
    b[:shared] = a[:shared] + rng.normal(0, 0.1, (shared, 8))
    a, b = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (a, b))
    found = match_descriptors(a.astype(np.float32), b.astype(np.float32), 0.9)
    if not first or not second:
        assert found.shape == (0, 2)
        return
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    expected = set()
    for i, j in enumerate(distances.argmin(axis=1)):
        rivals = np.concatenate([np.delete(distances[i], j), np.delete(distances[:, j], i), [4.0]])
        if distances[:, j].argmin() == i and distances[i, j] <= 0.9 * rivals.min() - 1e-4:
            expected.add((i, int(j)))
    assert expected <= {(int(i), int(j)) for i, j in found}
    for i, j in found:
        assert distances[:, j].argmin() == i
        assert distances[i].argmin() == j


def test_epipolar_error_is_zero_for_a_common_point_and_grows_with_the_offset() -> None:
    second_from_first = Pose(Rotation.from_rotvec([0.1, 0.2, 0.0]).as_matrix(), np.array([0.5, 0.1, 0.0]))
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (50, 3))
    seen = second_from_first.apply(points)
    first, second = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (points, seen))
    assert angular_epipolar_error(first, second, second_from_first).max() < 1e-9
    off = Rotation.from_euler("x", 1, degrees=True).apply(second)  # mostly across the epipolar lines
    errors = np.degrees(angular_epipolar_error(first, off, second_from_first))
    assert 0.5 < np.median(errors) < 1.2
    still = angular_epipolar_error(first, second, Pose())
    assert (still <= np.pi / 2).all()


def test_frames_of_a_fast_turn_are_passed_over_where_a_calmer_one_follows() -> None:
    yaw = np.cumsum([0.0, *np.where(np.isin(np.arange(1, 40), (10, 11)), 4.0, 0.2)])
    frames = [FrameSummary(i, looking(float(yaw[i]), 0.02 * i), 1.0) for i in range(40)]
    chosen = select_keyframes(frames, 0.1, 5)
    assert not {9, 10, 11} & set(chosen)
    assert 12 in chosen
    steady = [FrameSummary(i, looking(4.0 * i), 1.0) for i in range(40)]  # no frame is calmer than another
    assert select_keyframes(steady, 0.1, 5) == list(range(0, 40, 2))


def test_pairs_of_a_place_seen_very_often_stay_few() -> None:
    rng = np.random.default_rng(0)
    poses = [looking(float(yaw), float(x)) for yaw, x in rng.uniform(0, 1, (600, 2))]
    descriptors = rng.normal(size=(600, 8)).astype(np.float32)
    pairs = select_pairs(poses, [CAMERA] * 600, descriptors, per_keyframe=20, depth_m=3.0)
    assert len(pairs) <= 600 * 20
    assert np.bincount(np.array(pairs).ravel(), minlength=600).min() >= 8


def test_the_most_similar_come_first_however_large_the_map() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(700, 16)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    poses = [looking(0, 100.0 * i) for i in range(700)]
    pairs = set(select_pairs(poses, [CAMERA] * 700, descriptors, per_keyframe=4, depth_m=2.0))
    alike = descriptors @ descriptors.T
    for index in (0, 350, 699):
        alike[index, max(index - 3, 0) : index + 4] = -1
        best = int(alike[index].argmax())
        assert (min(index, best), max(index, best)) in pairs


def by_definition(frames: list[FrameSummary], distance_m: float, angle_deg: float) -> list[int]:
    """The choice with all frames at hand: medians over windows of 31, mirrored at the ends."""

    def typical(values: np.ndarray) -> np.ndarray:
        if len(values) <= 15:
            return np.full(len(values), np.median(values))
        padded = np.pad(values, 15, mode="reflect")
        return np.array([np.median(padded[index : index + 31]) for index in range(len(values))])

    sharp = np.array([frame.sharpness for frame in frames])
    turns = np.array([pose_error(a.map_from_camera, b.map_from_camera)[1] for a, b in pairwise(frames)])
    turns = np.concatenate([[0.0], turns, [0.0]])
    rate = np.maximum(turns[:-1], turns[1:])
    poor = (sharp < 0.5 * typical(sharp)) | ((rate > 1.0) & (rate > 2.0 * typical(rate)))
    chosen: list[int] = []
    for index, frame in enumerate(frames):
        if chosen:
            moved, turned = pose_error(frames[chosen[-1]].map_from_camera, frame.map_from_camera)
            steps = max(moved / distance_m, turned / angle_deg)
        else:
            steps = np.inf if index >= 15 else 1.0
        if steps >= 2.0 or (steps >= 1.0 and not poor[index]):
            chosen.append(index)
    return chosen or [0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(0, 10**6))
def test_choosing_frame_by_frame_is_choosing_with_all_at_hand(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    yaw, x = np.cumsum(rng.exponential(2.0, count)), np.cumsum(rng.exponential(0.05, count))
    frames = [FrameSummary(i, looking(float(yaw[i]), float(x[i])), float(rng.exponential())) for i in range(count)]
    chooser, chosen, waited = KeyframeChooser(0.15, 8.0), [], 0
    for number, frame in enumerate(frames, start=1):
        chosen += chooser.add(frame.map_from_camera, frame.sharpness)
        if number % 20 in (0, 7):  # asked or not, it goes on alike
            assert chosen + chooser.outlook() == select_keyframes(frames[:number], 0.15, 8.0)
        waited = max(waited, frame.index + 1 - chooser.decided)
    assert waited <= 16
    chosen += chooser.finish()
    assert chosen == by_definition(frames, 0.15, 8.0) == select_keyframes(frames, 0.15, 8.0)


def test_a_robot_that_drives_all_day_is_remembered_for_the_last_images_only() -> None:
    chooser = KeyframeChooser(0.15, 8.0)
    for number in range(500):
        chooser.add(Pose(translation=np.array([0.01 * number, 0.0, 0.0])), 1.0)
        chooser.outlook()
    assert len(chooser._sharpness._newest) <= 60
    assert len(chooser._rates._newest) <= 60
