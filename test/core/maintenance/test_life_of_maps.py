"""Checking, cutting, exporting and importing maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from drive import INFO, drive

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, MapError
from hfnet_core.geometry import Pose, Similarity
from hfnet_core.maintenance.align import moved_map
from hfnet_core.maintenance.check import check_map
from hfnet_core.maintenance.summary import look_alike_rows, summarize, summarize_check
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.look_alikes import features_of
from hfnet_core.maps.colmap import export_colmap, import_colmap
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import _DTYPES
from hfnet_core.maps.subset import keep_keyframes


@pytest.fixture(scope="module")
def some_map() -> LandmarkMap:
    scene = drive(views=10, landmarks=250, noise_px=0.3)
    return build_from_keyframes(
        Placed(scene.keyframes, provenance={"recordings": [{"images": 10}]}), INFO, MapBuildConfig()
    )


def test_a_subset_keeps_what_is_still_seen_twice(some_map: LandmarkMap) -> None:
    kept = np.ones(some_map.keyframes, dtype=bool)
    kept[[2, 7]] = False
    part = keep_keyframes(some_map, kept)
    assert part.keyframe_names == tuple(np.array(some_map.keyframe_names)[kept])
    assert np.diff(part.landmark_offsets).min() >= 2
    rows = np.flatnonzero(kept[some_map.observation_keyframes])
    seen = np.bincount(some_map.observation_landmarks[rows], minlength=some_map.landmarks)
    assert part.landmarks == (seen >= 2).sum()
    assert part.observations == seen[seen >= 2].sum()
    original = some_map.observations_of(3)
    places = {tuple(pixel) for pixel in some_map.observation_px[original]}
    assert {tuple(pixel) for pixel in part.observation_px[part.observations_of(2)]} <= places


def test_keeping_all_changes_nothing(some_map: LandmarkMap) -> None:
    same = keep_keyframes(some_map, np.ones(some_map.keyframes, dtype=bool))
    for name in _DTYPES:
        assert np.array_equal(getattr(same, name), getattr(some_map, name)), name


def test_check_finds_every_keyframe_of_a_good_map(some_map: LandmarkMap) -> None:
    steps: list[tuple[int, int]] = []
    found = check_map(some_map, lambda done, total: steps.append((done, total)))
    assert len(found.localized) == some_map.keyframes
    assert max(item.error_m or 0 for item in found.held_back) < 0.05
    assert found.components == 1
    assert steps[-1] == (10, 10)
    assert summarize_check(some_map, found, Path("a.hfmap")).row_count >= 6
    assert summarize(some_map, Path("a.hfmap")).row_count >= 8


def test_check_names_a_keyframe_that_does_not_belong(some_map: LandmarkMap) -> None:
    pixels = some_map.observation_px.copy()
    rows = some_map.observations_of(4)
    pixels[rows] = np.random.default_rng(0).permutation(pixels[rows])
    found = check_map(replace(some_map, observation_px=pixels))
    assert found.held_back[4].error_m is None
    assert found.weak[0].keyframe == 4


def test_stored_features_are_a_query(some_map: LandmarkMap) -> None:
    features = features_of(some_map, 1)
    assert len(features) == len(some_map.observations_of(1))
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-2)


@pytest.mark.parametrize("text", [False, True])
def test_colmap_there_and_back(some_map: LandmarkMap, tmp_path: Path, text: bool) -> None:
    export_colmap(some_map, tmp_path / "model", text=text)
    assert [item.name for item in tmp_path.iterdir()] == ["model"]
    again = import_colmap(tmp_path / "model")
    for name in _DTYPES:
        kept, given = getattr(again, name), getattr(some_map, name)
        assert kept.shape == given.shape, name
        assert np.allclose(kept.astype(np.float64), given.astype(np.float64), atol=1e-5), name
    assert again.keyframe_names == some_map.keyframe_names
    assert again.given_cameras == some_map.given_cameras
    assert (again.model_hash, again.frame_id) == (some_map.model_hash, some_map.frame_id)


def test_a_colmap_model_keeps_what_depth_and_visits_told_of_landmarks(some_map: LandmarkMap, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    told = replace(
        some_map,
        landmark_sigmas_m=np.where(rng.random(some_map.landmarks) < 0.3, 0.02, 0).astype(np.float32),
        landmark_hits=rng.integers(0, 9, some_map.landmarks).astype(np.int32),
        landmark_misses=rng.integers(0, 9, some_map.landmarks).astype(np.int32),
    )
    export_colmap(told, tmp_path / "model")
    model = pycolmap.Reconstruction(tmp_path / "model")
    gone = [3, 17]
    for number in gone:
        model.delete_point3D(number + 1)
    model.write(tmp_path / "model")
    again = import_colmap(tmp_path / "model")
    kept = np.delete(np.arange(told.landmarks), gone)
    for name in ("landmark_sigmas_m", "landmark_hits", "landmark_misses"):
        assert np.array_equal(getattr(again, name), getattr(told, name)[kept]), name


def test_the_exported_model_is_valid_for_colmap(some_map: LandmarkMap, tmp_path: Path) -> None:
    export_colmap(some_map, tmp_path / "model")
    model = pycolmap.Reconstruction(tmp_path / "model")
    model.update_point_3d_errors()
    assert model.num_points3D() == some_map.landmarks
    assert model.compute_num_observations() == some_map.observations
    assert model.compute_mean_reprojection_error() < 1.0
    first = model.image(1).points2D[0].xy
    assert np.allclose(first, some_map.observation_px[some_map.observations_of(0)[0]] + 0.5, atol=1e-4)


def test_a_point_removed_in_colmap_stays_removed(some_map: LandmarkMap, tmp_path: Path) -> None:
    export_colmap(some_map, tmp_path / "model")
    model = pycolmap.Reconstruction(tmp_path / "model")
    model.delete_point3D(1)
    model.write(tmp_path / "model")
    assert import_colmap(tmp_path / "model").landmarks == some_map.landmarks - 1


def test_refusals(some_map: LandmarkMap, tmp_path: Path) -> None:
    with pytest.raises(MapError, match="no such COLMAP model"):
        import_colmap(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MapError, match=r"has no hfmap\.safetensors"):
        import_colmap(tmp_path / "empty")
    with pytest.raises(ConfigError, match="exists already"):
        export_colmap(some_map, tmp_path / "empty")
    with pytest.raises(ConfigError, match="no such directory"):
        export_colmap(some_map, tmp_path / "none" / "model")
    export_colmap(some_map, tmp_path / "model")
    (tmp_path / "model" / "points3D.bin").write_bytes(b"")
    (tmp_path / "model" / "cameras.bin").unlink()
    with pytest.raises(MapError, match="is no COLMAP model"):
        import_colmap(tmp_path / "model")


def test_look_alikes_live_on_in_moved_and_smaller_maps(some_map: LandmarkMap) -> None:
    there = Pose(translation=np.array([7.0, 0.0, 0.0]))
    poses = [(there @ some_map.map_from_camera(index)).matrix()[:3] for index in (2, 5)]
    known = replace(some_map, alike_keyframes=np.array([2, 5], np.int32), alike_poses=np.array(poses))
    smaller = keep_keyframes(known, np.arange(some_map.keyframes) != 2)
    assert smaller.alike_keyframes.tolist() == [4]
    assert np.allclose(smaller.look_alikes_of(4)[0].translation, [7.0, 0.0, 0.0])
    turned = Similarity(2.0, Pose.from_quat_xyzw([0.0, 0.0, 1.0, 0.0], [1.0, 2.0, 3.0]))
    assert np.allclose(moved_map(known, turned).look_alikes_of(5)[0].translation, [-14.0, 0.0, 0.0])


def test_a_table_names_look_alikes(some_map: LandmarkMap) -> None:
    known = replace(
        some_map, alike_keyframes=np.array([2], np.int32), alike_poses=np.array(some_map.keyframe_poses[[7]])
    )
    rows = dict(look_alike_rows(known))
    first, second = some_map.keyframe_names[2], some_map.keyframe_names[7]
    assert f"{first} is like {second}" in rows["look-alike places"]
    assert look_alike_rows(some_map) == []


def test_a_colmap_model_keeps_the_scales_and_the_cameras_that_are_left(some_map: LandmarkMap, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    size = some_map.observation_descriptors.shape[1]
    looks = rng.integers(-90, 90, (2, some_map.landmarks, size)).astype(some_map.observation_descriptors.dtype)
    unused = replace(some_map.cameras[0], width=some_map.cameras[0].width + 2)
    told = replace(
        some_map,
        scale_factors=np.array([0.5, 2.0], np.float32),
        scaled_descriptors=looks,
        cameras=(unused, *some_map.cameras),
        given_cameras=(unused, *(some_map.given_cameras or some_map.cameras)),
        keyframe_cameras=some_map.keyframe_cameras + np.int32(1),
    )
    export_colmap(told, tmp_path / "model")
    model = pycolmap.Reconstruction(tmp_path / "model")
    model.delete_point3D(4)
    model.write(tmp_path / "model")
    again = import_colmap(tmp_path / "model")
    assert np.array_equal(again.scale_factors, told.scale_factors)
    assert np.array_equal(again.scaled_descriptors, np.delete(looks, 3, axis=1))
    used = told.given_cameras if len(again.cameras) == 2 else told.given_cameras[1:]
    assert again.given_cameras == used
