"""Features warped through depth: a wall seen by two cameras, laid out as the SfM data set is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import wall

from hfnet_core.benchmarks.feature_protocols.hpatches import Budget
from hfnet_core.benchmarks.feature_protocols.sfm_depth import (
    DepthView,
    evaluate_scene,
    pairs_of_scene,
    read_scales,
    score_pairs,
)
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.geometry import Pose

BUDGET = Budget(300, 4)


def view(shift: int, depth_m: float = wall.DISTANCE_M) -> DepthView:
    depth = np.full((wall.CAMERA.height, wall.CAMERA.width), depth_m, np.float32)
    return DepthView(str(shift), wall.view(shift), wall.CAMERA, wall.map_from_camera(shift), depth)


def sift() -> SiftExtractor:
    return SiftExtractor(ExtractorConfig(max_keypoints=1500))


def test_the_same_wall_from_two_places_is_repeatable_matched_and_found() -> None:
    found = score_pairs(sift().extract, [(view(0), view(32))], 1.0, BUDGET)
    assert found.pairs == 1
    assert found.repeatability > 0.7
    assert found.localization_px < 0.5
    assert found.matching_score > 0.6
    assert found.descriptor_map > 0.6
    assert found.pose == 1.0


def test_a_wrong_pose_or_depth_that_disagrees_is_noticed() -> None:
    moved = view(32)
    elsewhere = moved.world_from_camera @ Pose(translation=np.array([4.0, 0, 0]))
    wrong = DepthView("w", moved.image, moved.camera, elsewhere, moved.depth)
    assert score_pairs(sift().extract, [(view(0), wrong)], 1.0, BUDGET).pose == 0.0
    hidden = score_pairs(sift().extract, [(view(0), view(32, depth_m=1.0))], 1.0, BUDGET)
    assert hidden.descriptor_map in (0.0, 1.0)  # nothing is visible: nothing of nothing


def scene(folder: Path) -> Path:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    dense = folder / "wall" / "dense"
    depths = dense / "stereo" / "depth_maps_clean_300_th_0.10"
    for part in (dense / "images", dense / "sparse", depths):
        part.mkdir(parents=True)
    f, _, cx, cy = wall.CAMERA.params
    (dense / "sparse" / "cameras.txt").write_text(f"1 PINHOLE 320 240 {f} {f} {cx + 0.5} {cy + 0.5}\n")
    lines = []
    for number, shift in enumerate((0, 32), start=1):
        cv2.imwrite(str(dense / "images" / f"{number}.png"), wall.view(shift))
        with h5py.File(depths / f"{number}.h5", "w") as file:
            file["depth"] = np.full((240, 320), wall.DISTANCE_M, np.float32)
        pose = wall.map_from_camera(shift).inverse()
        x, y, z, w = pose.quat_xyzw()
        numbers = " ".join(f"{value:.9f}" for value in (w, x, y, z, *pose.translation))
        lines += [f"{number} {numbers} 1 {number}.png", "100.5 100.5 1 50.5 60.5 2"]
    (dense / "sparse" / "images.txt").write_text("\n".join(lines) + "\n")
    points = ["1 0 0 0 0 0 0 0.1 1 0 2 0", "2 1 0 0 0 0 0 0.1 1 1 2 1"]
    (dense / "sparse" / "points3D.txt").write_text("\n".join(points) + "\n")
    return folder / "wall"


def test_a_scene_is_read_as_it_lies_on_disk(tmp_path: Path) -> None:
    laid_out = scene(tmp_path)
    ((one, other),) = pairs_of_scene(laid_out)
    assert (one.name, other.name) == ("1.png", "2.png")
    assert one.image.shape[:2] == one.depth.shape == (480, 640)
    found = evaluate_scene(sift().extract, laid_out, 1.0, BUDGET)
    assert found.pose == 1.0
    (laid_out / "dense/stereo/depth_maps_clean_300_th_0.10/2.h5").unlink()
    with pytest.raises(DatasetError, match=r"2\.h5: no such depth map; from"):
        list(pairs_of_scene(laid_out))


def test_scales_are_read_and_a_bad_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scales.txt"
    path.write_text("# metres per unit\nreichstag 15.5648\n")
    assert read_scales(path) == {"reichstag": 15.5648}
    path.write_text("reichstag 15.5\nbig -1\n")
    with pytest.raises(DatasetError, match=r"line 2: -1\.0 is no scale"):
        read_scales(path)
