"""Overlap by depth, and the recall of global descriptors."""

from __future__ import annotations

import numpy as np
import pycolmap
import pytest
from helpers import textured_image

from hfnet_core.benchmarks.retrieval_metrics import evaluate_retrieval, vlad_of_map
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.depth_sequence import DepthFrame, DepthSequence, Overlap, Overlaps, overlaps
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.geometry import Pose

CAMERA = pycolmap.Camera(model="PINHOLE", width=320, height=240, params=[300.0, 300.0, 159.5, 119.5])


def frame(x_px: float, depth_m: float | np.ndarray = 2.0, name: int = 0) -> DepthFrame:
    """A view of a wall two metres ahead, moved sideways by so many of its pixels; its image is its name."""
    depth = np.full((240, 320), depth_m, np.float32) if np.isscalar(depth_m) else depth_m
    return DepthFrame(np.full((8, 8), name, np.uint8), depth, Pose(np.eye(3), (x_px * 2.0 / 300.0, 0.0, 0.0)))


def overlap(query: DepthFrame, mapped: DepthFrame) -> tuple[float, ...]:
    """With unknown depth left out, seen, unseen."""
    found = overlaps(DepthSequence(CAMERA, (mapped,), (query,)))
    return tuple(float(reading.with_map[0, 0]) for reading in found)


def test_overlap_is_the_share_of_the_image_in_common() -> None:
    assert overlap(frame(0), frame(0)) == (1.0, 1.0, 1.0)
    assert overlap(frame(0), frame(80)) == pytest.approx((0.75,) * 3, abs=0.05)
    assert overlap(frame(0), frame(400)) == (0.0, 0.0, 0.0)


def test_a_nearer_surface_hides_and_unknown_depth_is_read_in_three_ways() -> None:
    half_hidden = np.full((240, 320), 2.0, np.float32)
    half_hidden[:, :160] = 0.5
    assert overlap(frame(0), frame(0, half_hidden)) == pytest.approx((0.5,) * 3, abs=0.05)
    half_unknown = np.full((240, 320), 2.0, np.float32)
    half_unknown[:, :160] = 0.0
    assert overlap(frame(0), frame(0, half_unknown)) == pytest.approx((1.0, 1.0, 0.5), abs=0.05)
    # There, a quarter is out of sight and a quarter unknown; from there, a third of what has depth is out of sight.
    quarter_unknown = np.full((240, 320), 2.0, np.float32)
    quarter_unknown[:, :80] = 0.0
    assert overlap(frame(0), frame(80, quarter_unknown)) == pytest.approx((2 / 3, 2 / 3, 0.5), abs=0.05)
    assert overlap(frame(0), frame(0, 0.0)) == (0.0, 0.0, 0.0)  # one without any depth


def test_overlap_within_the_map() -> None:
    mapped = (frame(0), frame(80), frame(400))
    for reading in overlaps(DepthSequence(CAMERA, mapped, (frame(0),))):
        np.testing.assert_allclose(reading.within_map, [[0, 0.75, 0], [0.75, 0, 0], [0, 0, 0]], atol=0.05)


def table_of(
    left_out: list[list[float]], within_map: np.ndarray | None = None, unseen: list[list[float]] | None = None
) -> Overlaps:
    within = np.zeros((3, 3)) if within_map is None else within_map
    first, last = (Overlap(np.array(table), within) for table in (left_out, left_out if unseen is None else unseen))
    return Overlaps(first, first, last)


def direction(image: np.ndarray) -> np.ndarray:
    angle = np.deg2rad(float(image[0, 0]))
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_recall_counts_positives_among_the_first_with_and_without_distractors() -> None:
    """Images are numbers; their descriptors are directions at so many degrees."""
    sequence = DepthSequence(
        CAMERA, tuple(frame(0, name=n) for n in (0, 20, 40)), (frame(0, name=1), frame(0, name=50))
    )
    table = table_of([[0.9, 0.2, 0.5], [0.6, 0.4, 0.1]], unseen=[[0.9, 0.2, 0.4], [0.4, 0.4, 0.1]])

    by_reading = evaluate_retrieval(direction, sequence, table)
    scores = by_reading["left_out"]
    assert by_reading["seen"] == scores
    assert (by_reading["unseen"].queries, by_reading["unseen"].plain.alone.at_1) == (1, 1.0)
    assert (scores.queries, scores.plain.among) == (2, {})
    assert scores.chance_1 == pytest.approx(0.5)
    assert (scores.plain.alone.at_1, scores.plain.alone.at_5) == (0.5, 1.0)  # 50 finds 40 first, its positive 0 third
    assert scores.adapted == scores.plain  # nothing in common, nothing to adapt

    foreign = [np.full((8, 8), angle, np.uint8) for angle in (51, 52, 53, 54, 55)]
    streamed = evaluate_retrieval(direction, sequence, table, iter(foreign), counts=(2, 3, 99))
    among = streamed["left_out"].plain.among
    assert {count: (recall.at_1, recall.at_5) for count, recall in among.items()} == {
        2: (0.5, 1.0),
        3: (0.5, 0.5),
        5: (0.5, 0.5),
    }

    with pytest.raises(DatasetError, match="no query frame overlaps"):
        evaluate_retrieval(direction, sequence, table_of([[0.0] * 3] * 2))


def test_adapted_descriptors_of_the_map_lie_between_those_of_overlapping_frames() -> None:
    sequence = DepthSequence(CAMERA, tuple(frame(0, name=n) for n in (0, 19, 46)), (frame(0, name=22),))
    within = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], float)
    table = table_of([[0.9, 0.1, 0.1]], within)
    scores = evaluate_retrieval(direction, sequence, table, [np.full((8, 8), 90, np.uint8)])["left_out"]
    assert (scores.plain.alone.at_1, scores.adapted.alone.at_1) == (0.0, 1.0)  # the first moves from 0 to 23 degrees
    assert scores.adapted.among == {1: scores.adapted.alone}


def test_a_vlad_trained_on_the_map_recognises_its_images() -> None:
    extract = SiftExtractor().extract
    images = [textured_image(320, 240, seed=seed) for seed in range(4)]
    describe = vlad_of_map(extract, images)
    database = np.stack([describe(image) for image in images])
    np.testing.assert_allclose(np.linalg.norm(database, axis=1), 1.0, rtol=1e-5)
    for number, image in enumerate(images):
        assert (database @ describe(np.roll(image, 6, axis=1))).argmax() == number
    blank = np.full((240, 320), 128, np.uint8)
    assert describe(blank).shape == database[0].shape
    with pytest.raises(DatasetError, match="too few"):
        vlad_of_map(extract, [blank])
