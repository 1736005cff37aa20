"""The benchmark's measurements on a synthetic room where the answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import wall
from helpers import tiny_model
from rich.console import Console
from scene import CAMERA, Scene, looking, walk

from hfnet_core.benchmarks import localization_bench as bench
from hfnet_core.benchmarks import localization_suite
from hfnet_core.benchmarks.hloc_style import MapImage, map_images, observed_only
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.extractor import Extractor
from hfnet_core.maps.landmark_map import LandmarkMap
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


def test_foreign_images_are_refused_and_counted(room: tuple) -> None:
    class Elsewhere:
        info = SiftExtractor().info

        def extract(self, image: np.ndarray) -> Features:
            return Scene.make(seed=int(image[0, 0])).view(looking(0.3, 0.9, 155.0))[0]

    images = [np.full((480, 640), seed, np.uint8) for seed in (50, 51, 52)]
    found = bench.evaluate_foreign(room[1], images, Elsewhere(), None)
    assert (found.images, found.accepted, sum(found.refusals.values())) == (3, 0, 3)


def test_the_baseline_uses_keypoints_without_a_landmark_as_distractors(room: tuple, queries: list[bench.Query]) -> None:
    """A keypoint whose best match in a map image has no landmark gives no pair, as in hloc."""
    images = observed_only(room[1])
    blind = [MapImage(image.descriptors, np.full(len(image.landmarks), -1)) for image in images]
    run = bench.measure("blind", queries[:2], bench.hloc_style(room[1], blind))
    assert run.score.published == 0
    assert sum(run.refusals.values()) == 2


def test_the_whole_suite_on_a_wall(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    wall.wall_bag(tmp_path / "map", wall.SHIFTS)
    wall.wall_bag(tmp_path / "query", (16, 48, None, 80, 112))
    foreign = tmp_path / "photos"
    foreign.mkdir()
    cv2.imwrite(str(foreign / "noise.png"), wall.noise_image(5))
    options = localization_suite.Options(600, model, None, foreign, 5)
    found = localization_suite.run("hfnet", tmp_path / "map", tmp_path / "query", options)
    assert found.queries == 5
    assert found.rate.images == 4
    assert found.rate.per_s > 0
    assert found.foreign is not None
    assert found.foreign.images == 1
    console = Console(record=True, width=120)
    localization_suite.show(found, console)
    table = console.export_text()
    for word in ("hloc-style", "mean NEES", "p50 / p95 / p99", "refused: ", "images/s", "images from elsewhere"):
        assert word in table, table
    localization_suite.write_json(tmp_path / "out.json", [found])
    (figures,) = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["runs"]) == {"global", "tracking", "hloc-style"}
    assert figures["runs"]["global"]["score"]["images"] == 5
    with pytest.raises(DatasetError, match="recording"):
        map_images(wall.wall_map(model), tmp_path / "query", Extractor(open_backend(model, threads=1)))
