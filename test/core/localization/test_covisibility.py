"""Clusters of keyframes over the covisibility graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import Scene, looking, walk

from hfnet_core.localization import covisibility
from hfnet_core.maps.landmark_map import LandmarkMap


@pytest.fixture(scope="module")
def room() -> LandmarkMap:
    return Scene.make(points=2000).build_map(walk(24))


def test_opposite_views_are_different_places(room: LandmarkMap) -> None:
    clusters = covisibility.cluster(room, [0, 12, 1, 13, 2], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert clusters == [(0, 1, 2), (12, 13)]


def test_places_come_by_their_summed_similarity(room: LandmarkMap) -> None:
    clusters = covisibility.cluster(room, [0, 12, 13], [0.5, 0.4, 0.4])
    assert clusters == [(12, 13), (0,)]


def test_growing_adds_the_most_covisible(room: LandmarkMap) -> None:
    grown = covisibility.grow(room, [5], 4)
    neighbours, weights = room.covisible_with(5)
    assert grown[0] == 5
    assert set(grown[1:]) == set(neighbours[np.argsort(-weights, kind="stable")][:3].tolist())
    assert covisibility.grow(room, [5, 6, 7], 2) == (5, 6)


def test_nearby_keyframes_look_the_same_way(room: LandmarkMap) -> None:
    pose = room.map_from_camera(4)
    assert covisibility.nearby_keyframes(room, pose, 3)[0] == 4
    turned = looking(*pose.translation[:2], yaw_deg=0.0)
    for keyframe in covisibility.nearby_keyframes(room, turned, 5):
        assert room.map_from_camera(keyframe).rotation[:, 2] @ turned.rotation[:, 2] > 0


def test_landmarks_of_no_keyframe(room: LandmarkMap) -> None:
    assert len(covisibility.landmarks_seen_by(room, [])) == 0
    assert set(covisibility.landmarks_seen_by(room, [3])) == set(room.landmarks_of(3))


def test_nearby_keyframes_are_the_best_of_all(room: LandmarkMap) -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        pose = looking(rng.uniform(-9, 9), rng.uniform(-3, 3), rng.uniform(0, 360))
        cosine = room.keyframe_poses[:, :, 2] @ pose.rotation[:, 2]
        cost = np.linalg.norm(room.keyframe_poses[:, :, 3] - pose.translation, axis=1) + 2.0 * (1.0 - cosine)
        for count in (1, 3, room.keyframes, 2 * room.keyframes):
            expected = [int(k) for k in np.argsort(cost, kind="stable")[:count] if cosine[k] > 0.0]
            assert list(covisibility.nearby_keyframes(room, pose, count)) == expected


def test_a_keyframe_infinitely_far_away_is_not_near(room: LandmarkMap) -> None:
    poses = np.array(room.keyframe_poses)
    poses[3, :, 3] = 1e300  # as a damaged map has it that nobody verified
    found = covisibility.nearby_keyframes(replace(room, keyframe_poses=poses), room.map_from_camera(4), room.keyframes)
    assert found[0] == 4
    assert 3 not in found


def test_landmarks_are_taken_from_all_distances_the_most_seen_of_each(room: LandmarkMap) -> None:
    landmarks = np.arange(room.landmarks, dtype=np.int32)
    position = room.map_from_camera(4).translation
    chosen = covisibility.seen_most_of_each_distance(room, landmarks, position, 160)
    assert len(np.unique(chosen)) == len(chosen) == 160
    assert (np.diff(chosen) > 0).all()
    rank = np.argsort(np.argsort(np.linalg.norm(room.landmarks_xyz - position, axis=1)))
    group = rank * 8 // len(landmarks)
    assert np.bincount(group[chosen]).tolist() == [20] * 8
    seen = np.diff(room.landmark_offsets)
    for number in range(8):
        left_out = np.setdiff1d(np.flatnonzero(group == number), chosen)
        assert seen[chosen[group[chosen] == number]].min() >= seen[left_out].max()


@pytest.mark.parametrize("more", [1, 3, 7, 20])
def test_no_landmark_is_taken_twice_where_there_are_hardly_more(room: LandmarkMap, more: int) -> None:
    landmarks = np.arange(100 + more, dtype=np.int32)
    chosen = covisibility.seen_most_of_each_distance(room, landmarks, room.map_from_camera(4).translation, 100)
    assert len(np.unique(chosen)) == len(chosen) >= 96  # rounding may leave out one in each of eight distances


def test_of_few_landmarks_all_are_taken(room: LandmarkMap) -> None:
    some = np.array([3, 5, 8], np.int32)
    assert covisibility.seen_most_of_each_distance(room, some, np.zeros(3), 3).tolist() == [0, 1, 2]
    assert covisibility.seen_most_of_each_distance(room, some[:0], np.zeros(3), 3).tolist() == []
