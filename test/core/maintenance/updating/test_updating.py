"""A map follows its place: it learns what is new, forgets what is gone, stays within its budget, and is never worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drive import CAMERA, INFO
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.maintenance.extend import add_placed
from hfnet_core.maintenance.placing import place
from hfnet_core.maintenance.prune import map_bytes
from hfnet_core.maintenance.updating.budget import limit_keyframes, without_landmarks
from hfnet_core.maintenance.updating.held_back import Held, Recall, recall_of
from hfnet_core.maintenance.updating.update import Limits, update_with_keyframes
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.keyframes.reading import Keyframe, Reading
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.visits.counts import Counts, counted, counts_of, weights
from hfnet_core.projection import project_in_camera
from hfnet_core.types import Features

CONFIG = MapBuildConfig()
_RNG = np.random.default_rng(11)
POINTS = _RNG.uniform((-3, -1.5, 2), (5, 1.5, 5), (700, 3))
DESCRIPTORS = _RNG.normal(size=(700, 32))
STAYS, GOES, COMES = np.arange(700) < 90, (np.arange(700) >= 90) & (np.arange(700) < 400), np.arange(700) >= 400


def way(views: int, side: float = 0.0) -> list[Pose]:
    """Along x, turning a little."""
    out = []
    for share in np.linspace(0, 1, views):
        turn = Rotation.from_euler("yx", (20 * np.sin(3 * share), 5 * share), degrees=True).as_matrix()
        out.append(Pose(turn, np.array([2 * share, 0.2 * np.sin(5 * share) + side, 0.3 * share])))
    return out


def seen(there: np.ndarray, poses: list[Pose], recording: int, odometry: bool = True) -> list[Keyframe]:
    """Keyframes of the points that are there; odometry begins somewhere else."""
    odom_from_map = Pose(Rotation.from_euler("z", 40, degrees=True).as_matrix(), np.array([5.0, -2.0, 0.3]))
    out = []
    for index, pose in enumerate(poses):
        rng = np.random.default_rng(1000 * recording + index)
        pixels = project_in_camera(CAMERA, pose.inverse().apply(POINTS)) + rng.normal(0, 0.4, (len(POINTS), 2))
        with np.errstate(invalid="ignore"):
            inside = ((pixels >= 0) & (pixels < (640, 480))).all(axis=1)
        rows = rng.permutation(np.flatnonzero(inside & there))
        own = DESCRIPTORS[rows] + rng.normal(0, 0.1, (len(rows), 32))
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        share = index / max(len(poses) - 1, 1)
        features = Features(
            pixels[rows].astype(np.float32), np.linspace(1, 0.1, len(rows)).astype(np.float32), own.astype(np.float32),
            np.array([np.cos(share), np.sin(share)], np.float32), 640, 480,
        )  # fmt: skip
        told = odom_from_map @ pose if odometry else None
        stamp_ns = 10**12 * recording + index * 10**8
        out.append(
            Keyframe(f"{recording}/{index:06d}", stamp_ns, recording, CAMERA, pose, features, odometry_from_camera=told)
        )
    return out


def visit(number: int, there: np.ndarray, views: int = 12, odometry: bool = True) -> Reading:
    keyframes = seen(there, way(views, 0.03 * number), number, odometry)
    return Reading(f"visit {number}", keyframes, {"keyframes": len(keyframes)})


def of(landmark_map: LandmarkMap, which: np.ndarray) -> np.ndarray:
    """[L] whether each landmark is one of some points."""
    near = np.linalg.norm(landmark_map.landmarks_xyz[:, None] - POINTS[None], axis=2).argmin(axis=1)
    return which[near]


@pytest.fixture(scope="module")
def old_map() -> LandmarkMap:
    return build_from_keyframes(Placed(seen(STAYS | GOES, way(12), 0)), INFO, CONFIG)


@pytest.fixture(scope="module")
def months(old_map: LandmarkMap) -> list[LandmarkMap]:
    """The map, and what three visits to the changed place made of it."""
    out = [old_map]
    for number in (1, 2, 3):
        updated = update_with_keyframes(out[-1], [visit(number, STAYS | COMES)], CONFIG)
        assert updated.after.right >= updated.before.right
        assert updated.after.wrong == 0
        out.append(updated.landmark_map)
    return out


def test_what_is_new_is_learned_where_localization_was_weak(months: list[LandmarkMap]) -> None:
    old, first = months[:2]
    assert of(old, COMES).sum() == 0
    assert of(first, COMES).sum() > 100
    assert first.keyframes > old.keyframes
    step = first.provenance["history"][-1]
    assert (step["step"], step["images"]) == ("update", 12)
    assert step["learned"] == first.keyframes - old.keyframes
    assert first.frame_id == old.frame_id


def test_a_place_that_is_known_by_now_adds_nothing(months: list[LandmarkMap]) -> None:
    updated = update_with_keyframes(months[1], [visit(2, STAYS | COMES)], CONFIG)
    assert updated.weak == 0
    assert updated.learned == 0
    assert updated.landmark_map.keyframes == months[1].keyframes
    assert updated.landmark_map.landmark_hits.max() >= 1


def test_what_is_gone_is_forgotten_after_three_visits_and_not_before(months: list[LandmarkMap]) -> None:
    gone = [int(of(one, GOES).sum()) for one in months]
    assert gone[2] > 0.9 * gone[0]
    assert gone[3] < 0.3 * gone[0]
    stays = of(months[3], STAYS)
    assert stays.sum() > 0.8 * of(months[0], STAYS).sum()
    assert np.median(months[3].landmark_hits[stays]) >= 2


def test_counts_are_per_visit(months: list[LandmarkMap]) -> None:
    second = months[2]
    assert second.landmark_hits.max() == 2
    assert second.landmark_misses.max() == 2
    told = of(second, GOES)
    assert np.median(second.landmark_misses[told]) == 2
    assert second.landmark_hits[told].max() == 0


def test_a_file_and_the_next_extension_keep_the_counts(months: list[LandmarkMap], tmp_path: Path) -> None:
    save_map(months[2], tmp_path / "a.hfmap")
    again = load_map(tmp_path / "a.hfmap")
    assert np.array_equal(again.landmark_hits, months[2].landmark_hits)
    assert np.array_equal(again.landmark_misses, months[2].landmark_misses)
    reading = visit(4, STAYS | COMES, views=4)
    extended = add_placed(again, [reading], [place(again, reading.keyframes)], CONFIG).landmark_map
    assert extended.landmark_hits.sum() >= 0.95 * again.landmark_hits.sum()
    assert extended.landmark_misses.max() == again.landmark_misses.max()


def test_images_without_odometry_find_their_place_in_what_the_visit_adds(old_map: LandmarkMap) -> None:
    """The middle of the way shows only what is new, its ends what has stayed as well."""
    poses = way(16)
    keyframes = seen(STAYS | GOES | COMES, poses, 1, odometry=False)
    middle = seen(COMES, poses, 1, odometry=False)
    keyframes[6:10] = middle[6:10]
    reading = Reading("visit", keyframes, {})
    assert not any(6 <= index < 10 for index in place(old_map, keyframes).results)
    updated = update_with_keyframes(old_map, [reading], CONFIG)
    names = {f"1/{index:06d}" for index in range(6, 10) if index % 5 != 2}
    assert names <= set(updated.landmark_map.keyframe_names)
    assert updated.out_of_reach == 0
    assert updated.after.right > updated.before.right


def test_a_map_that_would_become_worse_stays_as_it_is(old_map: LandmarkMap) -> None:
    with pytest.raises(MapError, match=r"update is refused: of the .* the map stays as it is"):
        update_with_keyframes(old_map, [visit(1, STAYS | GOES)], CONFIG, Limits(max_keyframes=2))


def test_the_budget_is_kept(months: list[LandmarkMap]) -> None:
    updated = update_with_keyframes(months[1], [visit(2, STAYS | COMES)], CONFIG, Limits(max_keyframes=15))
    assert updated.landmark_map.keyframes == 15
    assert updated.pruned[0] == months[1].keyframes - 15
    assert updated.after.right >= updated.before.right
    with pytest.raises(ConfigError, match="less than a map's two"):
        Limits(max_keyframes=1)


def test_the_budget_holds_over_many_visits_and_recall_does_not_fall(old_map: LandmarkMap) -> None:
    """What does not stay is another each time: what was learned makes room for what is to be learned."""
    kept, learned = old_map, 0
    limits = Limits(max_keyframes=16, max_bytes=map_bytes(old_map))
    for number in range(1, 6):
        there = STAYS | (np.arange(len(STAYS)) % 5 == number % 5)
        updated = update_with_keyframes(kept, [visit(number, there)], CONFIG, limits)
        kept, learned = updated.landmark_map, learned + updated.learned
        assert kept.keyframes <= 16
        assert map_bytes(kept) <= map_bytes(old_map)
        assert updated.after.right >= updated.before.right
        assert updated.after.wrong == 0
    assert learned > 16  # and yet there was room
    held = [Held(View(one.features, one.camera), one.map_from_camera) for one in visit(6, there).keyframes]
    followed, without = recall_of(kept, held), recall_of(old_map, held)
    assert (followed.wrong, without.wrong) == (0, 0)
    assert followed.right >= without.right


def test_keyframes_nobody_finds_again_go_first(months: list[LandmarkMap]) -> None:
    second = months[2]
    smaller = limit_keyframes(second, 12, weights(counts_of(second)))
    from_the_old = [name for name in smaller.keyframe_names if name.startswith("0/")]
    assert smaller.keyframes == 12
    assert len(from_the_old) < 12 * old_share(second)
    assert len(smaller.landmark_hits) == smaller.landmarks


def old_share(landmark_map: LandmarkMap) -> float:
    return sum(name.startswith("0/") for name in landmark_map.keyframe_names) / landmark_map.keyframes


def test_a_keyframe_that_has_lost_its_landmarks_goes_with_them(old_map: LandmarkMap) -> None:
    forgotten = np.zeros(old_map.landmarks, dtype=bool)
    forgotten[old_map.landmarks_of(5)[10:]] = True
    kept = without_landmarks(old_map, forgotten)
    assert old_map.keyframe_names[5] not in kept.keyframe_names
    assert without_landmarks(old_map, np.zeros(old_map.landmarks, dtype=bool)) is old_map


def test_weights_of_counts() -> None:
    found = weights(Counts(np.array([0, 0, 0, 3]), np.array([0, 2, 3, 3])))
    assert found == pytest.approx([1.0, 1 / 3, 0.25, 4 / 7])


def test_a_map_says_what_it_counted(old_map: LandmarkMap) -> None:
    some = counted(old_map, Counts(np.ones(old_map.landmarks, np.int32), np.zeros(old_map.landmarks, np.int32)))
    assert some.landmark_hits.sum() == old_map.landmarks
    with pytest.raises(MapError, match="cannot be"):
        replace(some, landmark_misses=np.full(old_map.landmarks, -1, np.int32)).check()
    assert str(Recall(5, 4, 1)) == "4 of 5, 1 of them wrong"


def test_a_visit_that_teaches_nothing_leaves_the_next_ones_recording_known(old_map: LandmarkMap) -> None:
    """What a map tells of recordings (rotation, mask, frame) belongs to their keyframes by number."""
    told = {"number": 0, "image_rotation": 90}
    known = replace(old_map, provenance={**old_map.provenance, "recordings": [told]})
    first, second = (
        replace(visit(number, there), summary={"number": number, "image_rotation": rotation})
        for number, there, rotation in ((1, STAYS | GOES, 90), (2, STAYS | COMES, 180))
    )
    grown = update_with_keyframes(known, [first, second], CONFIG).landmark_map
    numbers = [int(name.partition("/")[0]) for name in grown.keyframe_names]
    assert {0, 2} <= set(numbers)
    turned = [item.get("image_rotation") for item in grown.keyframe_recordings]
    assert turned == [{0: 90, 1: 90, 2: 180}[number] for number in numbers]
    assert grown.next_recording == 3
