"""The feature metrics on images whose answer is known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.benchmarks.feature_metrics import (
    PlanarSequence,
    _Pnp,
    _warp,
    evaluate_homographies,
    evaluate_relocalization,
    load_sequences,
)
from hfnet_core.cli.main import app
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.depth_sequence import load_depth_sequence, overlaps
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.geometry import Pose

SHIFT = np.array([[1.0, 0.0, 12.0], [0.0, 1.0, -7.0], [0.0, 0.0, 1.0]])


def shifted(image: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, SHIFT[:2], image.shape[::-1], borderMode=cv2.BORDER_REFLECT)


def test_a_shifted_image_is_matched_and_a_wrong_truth_is_noticed() -> None:
    image = textured_image(320, 240)
    extract = SiftExtractor().extract
    right = evaluate_homographies(extract, PlanarSequence("s", ((image, shifted(image), SHIFT),)))
    assert right.accuracy[0] > 0.8
    assert right.repeatability > 0.6
    assert right.homography_accuracy == 1.0
    assert right.localization_error_px < 0.5
    wrong_truth = SHIFT + np.array([[0, 0, 20.0], [0, 0, 0], [0, 0, 0]])
    wrong = evaluate_homographies(extract, PlanarSequence("s", ((image, shifted(image), wrong_truth),)))
    assert wrong.accuracy[2] < 0.1
    assert wrong.homography_accuracy == 0.0


def test_blank_images_score_zero_matches() -> None:
    blank = np.full((120, 160), 128, np.uint8)
    scores = evaluate_homographies(SiftExtractor().extract, PlanarSequence("s", ((blank, blank, np.eye(3)),)))
    assert scores.accuracy == (0.0, 0.0, 0.0)
    assert scores.homography_accuracy == 0.0


def planar_scene(folder: Path) -> Path:
    scene = folder / "scene"
    scene.mkdir()
    image = textured_image(800, 600)
    cv2.imwrite(str(scene / "1.png"), image)
    cv2.imwrite(str(scene / "2.png"), shifted(image))
    np.savetxt(scene / "H_1_2", SHIFT)
    return scene


def test_sequences_are_scaled_with_their_homographies(tmp_path: Path) -> None:
    scene = planar_scene(tmp_path)
    (sequence,) = load_sequences(tmp_path, side_px=400)
    first, _, truth = sequence.pairs[0]
    assert first.shape == (300, 400)
    assert np.allclose(truth, [[1, 0, 6.0], [0, 1, -3.5], [0, 0, 1]])
    with pytest.raises(DatasetError, match="no sequence"):
        load_sequences(scene)
    (scene / "H_1_2").write_text("1 2 3")
    with pytest.raises(DatasetError, match="H_1_2"):
        load_sequences(tmp_path)


def walk_along_a_wall(folder: Path, unknown: slice = slice(0)) -> None:
    """A textured wall two metres ahead, the camera moving sideways: pixels shift by focal * metres / depth.

    unknown: columns of the second frame's depth image that are empty.
    """
    wall = textured_image(640, 240)
    (folder / "images").mkdir()
    (folder / "depth").mkdir()
    lines = []
    for number, x in [(0, 0), (10, 20), (20, 40), (500, 10), (510, 30)]:
        cv2.imwrite(str(folder / "images" / f"{number:06d}.jpg"), wall[:, 100 + x : 420 + x])
        depth = np.full((240, 320), 2000, np.uint16)
        if number == 10:
            depth[:, unknown] = 0
        cv2.imwrite(str(folder / "depth" / f"{number:06d}.png"), depth)
        lines.append(f"{number} {x * 2.0 / 300.0} 0 0 0 0 0 1 {number:06d}")
    (folder / "poses_tum.txt").write_text("# header\n" + "\n".join(lines))
    camera = {"width": 320, "height": 240, "fx": 300.0, "fy": 300.0, "cx": 159.5, "cy": 119.5}
    (folder / "camera.json").write_text(json.dumps(camera))


def test_relocalization_against_a_wall_of_known_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk_along_a_wall(tmp_path)
    sequence = load_depth_sequence(tmp_path, first_query=500)
    assert (len(sequence.map_frames), len(sequence.query_frames)) == (3, 2)
    overlap = overlaps(sequence).unseen.with_map
    assert overlap.min() > 0.8
    scores = evaluate_relocalization(SiftExtractor().extract, sequence, overlap)
    assert (scores.recall, scores.deviation) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert scores.median_m < 0.01
    assert evaluate_relocalization(SiftExtractor().extract, sequence, overlap) == scores
    solved: list[int] = []

    def seeds(solve: _Pnp, seed: int, truth: Pose) -> tuple[float, float]:
        solved.append(seed)
        return 0.04 if seed else 0.06, 1.0

    monkeypatch.setattr(_Pnp, "error", seeds)
    one, four = (evaluate_relocalization(SiftExtractor().extract, sequence, overlap, trials) for trials in (1, 4))
    assert (one.recall[0], four.recall[0]) == (0.0, 0.75)
    assert solved == [0] * 2 + [0, 1, 2, 3] * 2
    with pytest.raises(DatasetError, match="needs frames"):
        load_depth_sequence(tmp_path, first_query=0)


def test_the_command_measures_all_front_ends_and_readings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    planar_scene(tmp_path)
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "other.png"), textured_image(320, 240, seed=9))
    walk = tmp_path / "walk"
    walk.mkdir()
    walk_along_a_wall(walk, slice(0, 200))
    arguments = ["--planar", str(tmp_path), "--depth", str(walk), "--distractors", str(photos)]
    arguments += ["--distractor-count", "1", "--distractor-count", "3"]
    app(["bench", "features", *arguments, "--model", str(tiny_model(tmp_path))], standalone_mode=False)
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "sift " in line]
    planar = [row for row in rows if row[1] == "scene"]
    assert float(planar[0][3]) > 0.7
    assert any(row[1:4] == ["100.0% ±0.0"] * 3 for row in rows), printed
    retrieval = [row[1:] for row in rows if row[1] in ("as they are", "adapted")]
    # Where points without depth count against it, one of the three map frames, the best for one query, is no positive.
    shares = [["100.0%"] * 6] * 2 + [["50.0%", "100.0%"] * 3] * 2
    kinds = ["as they are", "adapted"] * 2
    assert retrieval == [[kind, *row] for kind, row in zip(kinds, shares, strict=True)], printed
    assert re.search("depth left out.*by chance R@1 100.0%;.*depth unseen.*by chance R@1 66.7%;", printed, re.DOTALL)
    assert "also among N images of other places" in printed
    assert "+1 R@1" in printed
    assert "+3 R@5" in printed


@pytest.mark.parametrize("content", ["nan 0 0 0 1 0 0 0 1", "0 0 0 0 0 0 0 0 0"])
def test_a_homography_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    scene = planar_scene(tmp_path)
    np.savetxt(scene / "H_1_2", np.array(content.split(), float).reshape(3, 3))
    with pytest.raises(DatasetError, match="H_1_2: is no homography"):
        load_sequences(tmp_path)


def test_an_editors_backup_of_a_homography_is_none(tmp_path: Path) -> None:
    scene = planar_scene(tmp_path)
    (scene / "H_1_2~").write_text("1 0 0")
    (sequence,) = load_sequences(tmp_path)
    assert len(sequence.pairs) == 1


def test_what_a_homography_sends_beyond_its_horizon_is_not_in_the_image() -> None:
    beyond = np.array([[1.0, 0, 0], [0, 1.0, 0], [-1 / 300, 0, 1.0]])
    features = SiftExtractor().extract(textured_image(800, 600))
    left = features.keypoints_px[:, 0] < 300
    assert 0 < left.sum() < len(features)
    moved = _warp(features.keypoints_px, beyond)
    assert (np.abs(moved[~left]) >= 1e9).any(axis=1).all()
    assert (np.abs(moved[left]) < 1e9).all()


def test_images_of_16_bits_do_not_wrap(tmp_path: Path) -> None:
    scene = planar_scene(tmp_path)
    (eight,) = load_sequences(tmp_path, side_px=800)
    for number in (1, 2):
        image = cv2.imread(str(scene / f"{number}.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(scene / f"{number}.png"), image.astype(np.uint16) * 257)
    (sixteen,) = load_sequences(tmp_path, side_px=800)
    assert np.array_equal(sixteen.pairs[0][0], eight.pairs[0][0])
