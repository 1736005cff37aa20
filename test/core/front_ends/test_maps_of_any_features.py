"""Maps of features from files and of images with known poses, pairs and matches from lists: as by our own network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import wall
from helpers import tiny_model

from hfnet_core.benchmarks.datasets.catalogue import open_dataset
from hfnet_core.benchmarks.datasets.lists import read_results
from hfnet_core.cli.main import app
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.exchange.hloc_files import HlocFile, write_pairs
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.extractor import Extractor
from hfnet_core.front_ends.exporting import export_features
from hfnet_core.geometry import pose_error
from hfnet_core.maps.storage import load_map
from hfnet_core.synthetic.copies import write_copy

SHIFTS = (0, 32, 64, 96, 128)


def run(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_a_bag_and_its_exported_features_give_the_map_of_the_network_and_localize(tmp_path: Path) -> None:
    model, bag, out = tiny_model(tmp_path), tmp_path / "bag", tmp_path / "out"
    wall.wall_bag(bag, SHIFTS)
    network = Extractor(open_backend(model, "onnxruntime"), MapBuildConfig().extraction)
    export_features(bag, out, network)
    run("map", "build", bag, "-o", tmp_path / "live.hfmap", "--model", model)
    run("map", "build", bag, "-o", tmp_path / "file.hfmap", "--features", out)
    live, stored = load_map(tmp_path / "live.hfmap"), load_map(tmp_path / "file.hfmap")
    assert stored.model_hash == live.model_hash
    assert stored.landmarks == live.landmarks > 100
    assert np.allclose(stored.landmarks_xyz, live.landmarks_xyz, atol=1e-4)
    offline = OfflineLocalizer(tmp_path / "file.hfmap", source=StoredFeatures([out], ExtractorConfig()))
    answers = list(offline.bag(bag))
    assert len(answers) == len(SHIFTS)
    for answer in answers:  # features of random weights convince nobody, but they agree on a pose
        assert answer.result.matches > 300
        assert answer.result.inliers >= 12


def posed_images(folder: Path) -> tuple[Path, Path]:
    """(model, images): views of the wall with their poses, without points."""
    images, model = folder / "images" / "db", folder / "model"
    images.mkdir(parents=True)
    model.mkdir()
    lines = []
    for number, shift in enumerate(SHIFTS, start=1):
        cv2.imwrite(str(images / f"{number}.png"), wall.view(shift))
        pose = wall.map_from_camera(shift).inverse()
        x, y, z, w = pose.quat_xyzw()
        numbers = " ".join(f"{value:.9f}" for value in (w, x, y, z, *pose.translation))
        lines += [f"{number} {numbers} 1 db/{number}.png", ""]
    f, _, cx, cy = wall.CAMERA.params
    (model / "cameras.txt").write_text(f"1 PINHOLE 320 240 {f} {f} {cx + 0.5} {cy + 0.5}\n")
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("")
    return model, folder / "images"


def test_known_poses_pairs_and_matches_of_hloc_become_a_map_and_a_colmap_model(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")
    poses, images = posed_images(tmp_path)
    features, pairs, matches = tmp_path / "f.h5", tmp_path / "pairs.txt", tmp_path / "m.h5"
    run("export-features", images, features, "--model", tiny_model(tmp_path), "--keypoints", 600)
    names = [f"db/{number}.png" for number in range(1, len(SHIFTS) + 1)]
    near = [(one, other) for i, one in enumerate(names) for other in names[i + 1 : i + 3]]
    write_pairs(pairs, [*near, ("db/1.png", "db/elsewhere.png")])
    write_pairs(tmp_path / "near.txt", near)
    run("match-features", features, matches, "--pairs", tmp_path / "near.txt")
    run("map", "build", poses, "--images", images, "-o", tmp_path / "a.hfmap", "--features", features,
        "--pairs", pairs, "--matches", matches, "--colmap", tmp_path / "sfm")  # fmt: skip
    built = load_map(tmp_path / "a.hfmap", verify=True)
    depth = wall.MAP_FROM_WALL.inverse().apply(np.asarray(built.landmarks_xyz))[:, 2]
    assert built.landmarks > 100
    assert np.quantile(np.abs(depth - wall.DISTANCE_M), 0.98) < 0.01  # mutual neighbours: few are wrong
    model = pycolmap.Reconstruction(str(tmp_path / "sfm"))
    assert len(model.points3D) == built.landmarks
    (first,) = (image for image in model.images.values() if image.name == "db/1.png")
    with HlocFile(features) as stored:
        keypoints = stored.features("db/1.png").keypoints
    assert np.allclose([point.xy for point in first.points2D], keypoints + 0.5, atol=1e-3)
    with pytest.raises(ConfigError, match="give one of them"):
        run("map", "build", poses, "--images", images, "-o", tmp_path / "b.hfmap", "--features", features,
            "--matches", matches, "--matcher", "nn")  # fmt: skip
    with pytest.raises(ConfigError, match=r"give that with --features FILE\.h5"):
        run("map", "build", poses, "--images", images, "-o", tmp_path / "b.hfmap", "--matches", matches)


def test_pairs_come_from_retrieval_where_nothing_tells_them(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")
    poses, images = posed_images(tmp_path)
    model = tiny_model(tmp_path)
    given = ("map", "import", poses, "--images", images, "--model", model)
    run(*given, "-o", tmp_path / "a.hfmap", "--matcher", "nn-ratio")
    assert load_map(tmp_path / "a.hfmap").landmarks > 100
    write_pairs(tmp_path / "pairs.txt", [("x.png", "y.png")])
    with pytest.raises(DatasetError, match=r"x\.png y\.png for example, has no two images of"):
        run(*given, "-o", tmp_path / "b.hfmap", "--pairs", tmp_path / "pairs.txt")


@pytest.mark.timeout(600)
def test_a_dataset_is_run_with_features_from_a_file(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    data, features, out = tmp_path / "data", tmp_path / "f.h5", tmp_path / "out"
    truth = write_copy("aachen", data)
    run("export-features", data / "images_upright", features, "--keypoints", 500)
    run("benchmark", "aachen", data, "-o", out, "--features", features, "--pictures", 0)
    dataset = open_dataset("aachen", data)
    names = {q.submitted: q.name for place in dataset.places() for q in dataset.open(place).queries}
    found = read_results(out / dataset.result_name("hfnet"))
    errors = [pose_error(pose, truth[names[called]])[0] for called, pose in found.items()]
    assert len(errors) == len(names)
    assert np.median(errors) < 0.05
