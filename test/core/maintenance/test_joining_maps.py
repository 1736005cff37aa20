"""Extending and merging maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drive import INFO, Drive, drive
from helpers import shared_data
from scipy.spatial.transform import Rotation

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, Similarity, pose_error
from hfnet_core.maintenance.align import moved_map
from hfnet_core.maintenance.extend import Extended, extend_map, extend_with_keyframes
from hfnet_core.maintenance.merge import find_overlap, merge_maps
from hfnet_core.maintenance.placing import place
from hfnet_core.mapping.builder import Placed, build_from_keyframes, build_map
from hfnet_core.mapping.keyframes.reading import BuildTools, Keyframe, Reading
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import save_map

ELSEWHERE = Pose(Rotation.from_euler("zyx", (50, -20, 10), degrees=True).as_matrix(), np.array([7.0, -3.0, 2.0]))
CONFIG = MapBuildConfig()


@pytest.fixture(scope="module")
def scene() -> Drive:
    return drive(views=16, landmarks=400, noise_px=0.3)


@pytest.fixture(scope="module")
def first_half(scene: Drive) -> LandmarkMap:
    return build_from_keyframes(Placed(scene.keyframes[:8], "hall", {"recordings": [{"images": 8}]}), INFO, CONFIG)


def second_drive(scene: Drive, own: bool = True) -> list[Keyframe]:
    """The other half as another recording, on odometry in a frame of its own."""
    return [
        replace(k, name=f"1/{k.name[2:]}", map_from_camera=Pose(),
                odometry_from_camera=ELSEWHERE @ truth if own else None)
        for k, truth in zip(scene.keyframes[6:], scene.truth[6:], strict=True)
    ]  # fmt: skip


def nonsense(keyframe: Keyframe, seed: int = 0) -> Keyframe:
    """The keyframe with keypoints that nothing explains."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(0, (640, 480), keyframe.features.keypoints_px.shape).astype(np.float32)
    return replace(keyframe, features=replace(keyframe.features, keypoints_px=pixels))


def extended(landmark_map: LandmarkMap, keyframes: list[Keyframe]) -> Extended:
    return extend_with_keyframes(landmark_map, [Reading("b.mcap", keyframes, {"images": 10})], CONFIG)


def worst(landmark_map: LandmarkMap, truth: list[Pose]) -> tuple[float, float]:
    errors = [pose_error(landmark_map.map_from_camera(index), pose) for index, pose in enumerate(truth)]
    return max(metres for metres, _ in errors), max(degrees for _, degrees in errors)


def test_a_map_grows_by_another_drive_and_keeps_its_frame(scene: Drive, first_half: LandmarkMap) -> None:
    found = extended(first_half, second_drive(scene))
    joint = found.landmark_map
    assert joint.keyframes == 18
    assert (joint.frame_id, joint.model_hash) == ("hall", INFO.model_hash)
    assert joint.keyframe_names[-1] == "1/000015"
    metres, degrees = worst(joint, [*scene.truth[:8], *scene.truth[6:]])
    assert metres < 0.03
    assert degrees < 0.4
    assert joint.landmarks > first_half.landmarks
    assert joint.observations > 1.8 * first_half.observations
    old = joint.observation_keyframes < 8
    shared = np.intersect1d(joint.observation_landmarks[old], joint.observation_landmarks[~old])
    assert len(shared) > 100  # one map, not two beside each other
    assert len(joint.provenance["recordings"]) == 2
    assert joint.provenance["history"][0]["localized"] == found.placings[0].localized
    assert joint.cameras == joint.cameras[:1]


def test_old_keyframes_keep_their_landmarks(scene: Drive, first_half: LandmarkMap) -> None:
    joint = extended(first_half, second_drive(scene)).landmark_map
    for keyframe in range(8):
        assert len(joint.observations_of(keyframe)) > 0.9 * len(first_half.observations_of(keyframe))


def test_odometry_carries_to_what_cannot_be_localized(scene: Drive, first_half: LandmarkMap) -> None:
    keyframes = second_drive(scene)
    keyframes[3] = nonsense(keyframes[3])
    placing = place(first_half, keyframes)
    assert placing.left_out == 0
    lost = placing.placed[3]
    assert lost.carried_m > 0
    metres, degrees = pose_error(lost.map_from_camera, scene.truth[9])
    assert metres < 0.05
    assert degrees < 0.5


def test_without_odometry_the_lost_are_left_out_and_counted(scene: Drive, first_half: LandmarkMap) -> None:
    keyframes = second_drive(scene, own=False)
    keyframes[0] = nonsense(keyframes[0])
    placing = place(first_half, keyframes)
    assert keyframes[0].name not in {item.keyframe.name for item in placing.placed}
    assert placing.left_out == len(keyframes) - placing.localized >= 1
    assert sum(count for _, count in placing.reasons) == placing.left_out
    assert extended(first_half, keyframes).landmark_map.keyframes == 8 + placing.localized


def test_a_localization_against_the_odometry_is_not_believed(scene: Drive, first_half: LandmarkMap) -> None:
    keyframes = second_drive(scene)[:6]
    wrong = scene.keyframes[1].features  # looks like another place than where odometry says it is
    keyframes[2] = replace(keyframes[2], features=wrong)
    placing = place(first_half, keyframes)
    assert placing.contradicted == 1
    assert pose_error(placing.placed[2].map_from_camera, scene.truth[8])[0] < 0.05


def test_a_drive_elsewhere_is_refused(scene: Drive, first_half: LandmarkMap) -> None:
    with pytest.raises(DatasetError, match=r"b\.mcap: none of 10 keyframes could be localized"):
        extended(first_half, [nonsense(k, i) for i, k in enumerate(second_drive(scene))])


def test_two_maps_become_one(scene: Drive, first_half: LandmarkMap) -> None:
    second = build_from_keyframes(
        Placed(second_drive_given(scene), "yard", {"recordings": [{"images": 10}]}), INFO, CONFIG
    )
    merged = merge_maps(first_half, moved_map(second, Similarity(1.0, ELSEWHERE)))
    joint = merged.landmark_map
    assert joint.keyframes == 18
    assert len(set(joint.keyframe_names)) == 18
    assert joint.frame_id == "hall"
    assert merged.fused > 100
    assert len(joint.provenance["recordings"]) == 2
    metres, degrees = worst(joint, [*scene.truth[:8], *scene.truth[6:]])
    assert metres < 0.05
    assert degrees < 0.6


def test_the_visits_of_both_maps_are_remembered_and_their_recordings_known(
    scene: Drive, first_half: LandmarkMap
) -> None:
    """Those of the second one as well, which the months have taught, and the first has not seen yet."""
    pruned = {"recordings": [{"number": 0}, {"number": 1}]}  # nothing is left of the second recording
    second = build_from_keyframes(
        Placed(second_drive_given(scene), "yard", {"recordings": [{"images": 10, "image_rotation": 90}]}), INFO, CONFIG
    )
    hits, misses = np.full(second.landmarks, 7, np.int32), np.full(second.landmarks, 2, np.int32)
    second = replace(second, landmark_hits=hits, landmark_misses=misses)
    joint = merge_maps(replace(first_half, provenance=pruned), second).landmark_map
    found = joint.landmark_hits == 7
    assert found.sum() > 0.9 * second.landmarks - 50
    assert (joint.landmark_misses[found] == 2).all()
    assert not joint.landmark_misses[~found].any()
    rotations = [told.get("image_rotation") for told in joint.keyframe_recordings]
    assert rotations == [None] * 8 + [90] * 10
    assert {name.partition("/")[0] for name in joint.keyframe_names} == {"0", "2"}


def second_drive_given(scene: Drive) -> list[Keyframe]:
    return [replace(k, name=k.name) for k in scene.keyframes[6:]]


def test_scale_is_found_only_where_it_is_allowed(scene: Drive, first_half: LandmarkMap) -> None:
    second = build_from_keyframes(Placed(second_drive_given(scene), "yard"), INFO, CONFIG)
    larger = moved_map(second, Similarity(2.5, ELSEWHERE))
    with pytest.raises(MapError, match=r"0\.(39|40).* pass --scale"):
        find_overlap(first_half, larger)
    overlap = find_overlap(first_half, larger, scaled=True)
    assert overlap.first_from_second.scale == pytest.approx(1 / 2.5, rel=0.02)
    metres, degrees = pose_error(overlap.first_from_second.move(larger.map_from_camera(0)), scene.truth[6])
    assert metres < 0.05
    assert degrees < 1.0


def test_maps_that_do_not_belong_together_are_refused(scene: Drive, first_half: LandmarkMap) -> None:
    other = drive(views=8, seed=5)
    strange = build_from_keyframes(Placed(other.keyframes), INFO, CONFIG)
    with pytest.raises(MapError, match="do not overlap enough: 0 of 8 keyframes"):
        merge_maps(first_half, strange)
    with pytest.raises(MapError, match="different models"):
        merge_maps(first_half, replace(strange, model_hash="a" * 64))


def test_the_same_input_gives_the_same_file(scene: Drive, first_half: LandmarkMap, tmp_path: Path) -> None:
    files = []
    for name in ("a.hfmap", "b.hfmap"):
        save_map(extended(first_half, second_drive(scene)).landmark_map, tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


def test_a_real_map_grows(tmp_path: Path) -> None:
    """The same walk once more, from another container: everything is found where it was."""
    first, second = (shared_data("data", "bags", f"redkitchen40_{name}") for name in ("mcap", "db3"))
    extractor = Extractor(open_backend(None), ExtractorConfig(max_keypoints=1000))
    built = build_map([first], extractor, CONFIG)
    found = extend_map(built, [second], BuildTools(extractor, CONFIG))
    joint = found.landmark_map
    assert joint.keyframes == 2 * built.keyframes
    assert (found.placings[0].localized, found.placings[0].left_out) == (built.keyframes, 0)
    for index in range(built.keyframes):
        twice = joint.map_from_camera(built.keyframes + index)
        assert pose_error(joint.map_from_camera(index), twice)[0] < 0.02
