"""`python test/bench/global_heads.py POOL KITCHEN MODEL MODEL`: two global heads, each alone and both joined.

KITCHEN: a sequence with depth, as for `hfnet bench features --depth`. Recall in it, adapted to the map as in every map,
and in rendered rooms that trained neither (a view's nearest is a view of the same room that overlaps by 0.4, or any
view of the same room), each alone and among photos of the pool and crops of them; time of a network in turn on the
same images, and size of its file. Joined: the mean of both similarities.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.distractors import photos_and_crops
from hfnet_core.benchmarks.retrieval_metrics import evaluate_retrieval
from hfnet_core.config import ExtractorConfig
from hfnet_core.evaluation.depth_sequence import load_depth_sequence, overlaps
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.rooms import render_room

SAME_PLACE = 0.4  # overlap from which the recipe takes two views of a room for one place
VIEWS = 8  # of a room
ROOM_SEED = 77_003  # no training draws from it


class Networks:
    """Both, run on the same images in turn."""

    def __init__(self, models: list[Path]) -> None:
        few = ExtractorConfig(max_keypoints=10)  # the descriptor of the image is what counts here
        self._extractors = [Extractor(open_backend(path, "onnxruntime", threads=1), few) for path in models]
        self.seconds: list[list[float]] = [[] for _ in models]
        self.parts = {"first": slice(0, self._dim(0)), "second": slice(self._dim(0), None), "joined": slice(None)}

    def _dim(self, number: int) -> int:
        return self._extractors[number].info.spec.global_dim

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Both descriptors one behind the other, each of length sqrt(1/2)."""
        found = []
        for extractor, seconds in zip(self._extractors, self.seconds, strict=True):
            start = time.thread_time()
            found.append(extractor.extract(image).global_descriptor)
            seconds.append(time.thread_time() - start)
        return np.concatenate(found) * np.float32(0.5**0.5)


def room_recall(
    rows: NDArray[np.float32], overlap: NDArray[np.float64], room: NDArray[np.int64], strange: NDArray[np.float32]
) -> list[float]:
    """Recall at rank 1 of the views [N, D] that have a positive, alone and among strange rows [M, D]; and the share of
    which the nearest is any other view of the same room [N]."""
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    positive = overlap >= SAME_PLACE
    np.fill_diagonal(positive, False)
    asked = np.flatnonzero(positive.any(axis=1))
    nearest = similarity[asked].argmax(axis=1)
    alone = positive[asked, nearest]
    among = alone & (similarity[asked, nearest] > (rows[asked] @ strange.T).max(axis=1, initial=-np.inf))
    return [float(alone.mean()), float(among.mean()), float((room[asked] == room[nearest]).mean())]


def rooms(
    pool: Pool, count: int, describe: Networks
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Descriptors [N, D] of views, what every two have in common [N, N], and which room each is of [N]."""
    rows, blocks = [], []
    for number in range(count):
        found = render_room(pool, np.random.default_rng((ROOM_SEED, number)), VIEWS)
        rows += [describe(image) for image in found.images]
        blocks.append(found.overlap)
    overlap, start = np.zeros((len(rows), len(rows))), 0
    for block in blocks:
        overlap[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return np.stack(rows), overlap, np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("kitchen", type=Path)
    parser.add_argument("models", type=Path, nargs=2)
    parser.add_argument("--rooms", type=int, default=60)
    parser.add_argument("--distractors", type=int, default=10_000)
    asked = parser.parse_args()
    pool, describe = Pool.read(asked.pool), Networks(asked.models)
    walk = load_depth_sequence(asked.kitchen, 500)
    frames = [frame.image for frame in (*walk.map_frames, *walk.query_frames)]
    known = {id(image): describe(image) for image in frames}
    times = [1e3 * float(np.median(seconds)) for seconds in describe.seconds]
    rendered, overlap, room = rooms(pool, asked.rooms, describe)
    paths = [photo.path for photo in pool.photos]
    strange = np.stack([describe(image) for image in photos_and_crops(paths, asked.distractors)])
    shared = overlaps(walk)
    for name, part in describe.parts.items():
        unit = np.float32(1.0 if name == "joined" else 2**0.5)
        scores = evaluate_retrieval(
            lambda item, part=part, unit=unit: unit * known.get(id(item), item)[part], walk, shared, strange
        )["left_out"]
        alone, (among,) = scores.adapted.alone, scores.adapted.among.values()
        print(
            f"{name}: kitchen adapted, {scores.queries} queries: @1 {alone.at_1:.3f} @5 {alone.at_5:.3f}, among "
            f"{len(strange)} others {among.at_1:.3f} {among.at_5:.3f}; as they are @1 {scores.plain.alone.at_1:.3f} @5 "
            f"{scores.plain.alone.at_5:.3f}; rooms @1, alone and among others, and in the same room: "
            + " ".join(f"{value:.3f}" for value in room_recall(rendered[:, part], overlap, room, strange[:, part])),
            flush=True,
        )
    for path, ms in zip(asked.models, times, strict=True):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {ms:.1f} ms an image of {frames[0].shape[1]} px")


if __name__ == "__main__":
    main()
