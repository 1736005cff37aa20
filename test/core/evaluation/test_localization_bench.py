"""The benchmark's measurements on a synthetic room where the answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import textured_image
from scene import CAMERA, Scene, looking, walk

from hfnet_core.evaluation import localization_bench as bench
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.mapping.landmark_map import LandmarkMap
from hfnet_core.types import Features


@pytest.fixture(scope="module")
def room() -> tuple[Scene, LandmarkMap]:
    scene = Scene.make()
    return scene, scene.build_map(walk())


@pytest.fixture(scope="module")
def queries(room: tuple[Scene, LandmarkMap]) -> list[bench.Query]:
    turns = np.arange(24) * 2.0
    poses = [looking(1.2 * np.cos(np.radians(t)), 0.9 * np.sin(np.radians(t)), t + 40.0) for t in turns]
    return [
        bench.Query(index * 66_000_000, room[0].view(pose, seed=index)[0], CAMERA, pose, 0.01)
        for index, pose in enumerate(poses)
    ]


@pytest.mark.parametrize("way", [bench.globally, bench.tracking, bench.hloc_style])
def test_every_way_finds_the_queries(room: tuple, queries: list[bench.Query], way) -> None:
    run = bench.measure("run", queries, way(room[1]))
    assert run.score.published == len(queries)
    assert run.score.wrong == 0
    assert run.score.recalls[0].share == 1.0
    assert run.latency_s is not None
    if way is not bench.hloc_style:
        assert {"matching", "pose"} <= set(run.stages_s)


def test_kidnapping_is_noticed_and_survived(room: tuple, queries: list[bench.Query]) -> None:
    found = bench.evaluate_kidnapping(room[1], queries, pieces=4)
    assert (found.cuts, found.recovered, found.wrong) == (4, 4, 0)


def test_strangers_are_refused_and_counted(room: tuple) -> None:
    class Elsewhere:
        info = SiftExtractor().info

        def extract(self, image: np.ndarray) -> Features:
            return Scene.make(seed=int(image[0, 0])).view(looking(0.3, 0.9, 155.0))[0]

    images = [np.full((480, 640), seed, np.uint8) for seed in (50, 51, 52)]
    assert bench.evaluate_strangers(room[1], images, Elsewhere(), None) == bench.Strangers(3, 0)


def test_borrowed_retrieval_takes_each_part_from_its_source() -> None:
    image = textured_image(160, 120)
    mixed = bench.BorrowedRetrieval(OrbExtractor(), SiftExtractor())
    features = mixed.extract(image)
    assert features.descriptors.shape[1] == 256
    assert mixed.info.model_hash == OrbExtractor().info.model_hash
