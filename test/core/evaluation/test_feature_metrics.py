"""The feature metrics on images whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.depth_sequence import load_depth_sequence, overlaps
from hfnet_core.evaluation.feature_metrics import (
    PlanarSequence,
    evaluate_homographies,
    evaluate_relocalization,
    load_sequences,
)
from hfnet_core.features.baselines import SiftExtractor

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


def test_sequences_are_scaled_with_their_homographies(tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    scene.mkdir()
    image = textured_image(800, 600)
    cv2.imwrite(str(scene / "1.png"), image)
    cv2.imwrite(str(scene / "2.png"), shifted(image))
    np.savetxt(scene / "H_1_2", SHIFT)
    (sequence,) = load_sequences(tmp_path, side_px=400)
    first, _, truth = sequence.pairs[0]
    assert first.shape == (300, 400)
    assert np.allclose(truth, [[1, 0, 6.0], [0, 1, -3.5], [0, 0, 1]])
    with pytest.raises(DatasetError, match="no sequence"):
        load_sequences(scene)
    (scene / "H_1_2").write_text("1 2 3")
    with pytest.raises(DatasetError, match="H_1_2"):
        load_sequences(tmp_path)


def test_relocalization_against_a_wall_of_known_depth(tmp_path: Path) -> None:
    """A textured wall two metres ahead, the camera moving sideways: pixels shift by focal * metres / depth."""
    wall = textured_image(640, 240)
    (tmp_path / "images").mkdir()
    (tmp_path / "depth").mkdir()
    lines = []
    for number, x in [(0, 0), (10, 20), (20, 40), (500, 10), (510, 30)]:
        cv2.imwrite(str(tmp_path / "images" / f"{number:06d}.jpg"), wall[:, 100 + x : 420 + x])
        cv2.imwrite(str(tmp_path / "depth" / f"{number:06d}.png"), np.full((240, 320), 2000, np.uint16))
        lines.append(f"{number} {x * 2.0 / 300.0} 0 0 0 0 0 1 {number:06d}")
    (tmp_path / "poses_tum.txt").write_text("# header\n" + "\n".join(lines))
    camera = {"width": 320, "height": 240, "fx": 300.0, "fy": 300.0, "cx": 159.5, "cy": 119.5}
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    sequence = load_depth_sequence(tmp_path, first_query=500)
    assert (len(sequence.map_frames), len(sequence.query_frames)) == (3, 2)
    overlap = overlaps(sequence).unseen.with_map
    assert overlap.min() > 0.8
    scores = evaluate_relocalization(SiftExtractor().extract, sequence, overlap)
    assert (scores.recall, scores.deviation) == ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    assert scores.median_m < 0.01
    assert evaluate_relocalization(SiftExtractor().extract, sequence, overlap) == scores
    with pytest.raises(DatasetError, match="needs frames"):
        load_depth_sequence(tmp_path, first_query=0)
