"""Which answers of an earlier run are kept, and what is taken anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hfnet_core.benchmarks.datasets.dataset import QueryImage
from hfnet_core.benchmarks.paper import place_run
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.place_run import PlaceRun
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.workspace import key_of
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 31.5, 23.5))
QUERIES = [QueryImage(f"{number}.jpg", CAMERA, "day", f"{number}.jpg", None) for number in range(3)]


def answers(folder: Path, queries: list[QueryImage], config: object = None) -> tuple[list[QueryAnswer], list[str]]:
    """What a run says, and which queries it asks."""
    run, asked = PlaceRun.__new__(PlaceRun), []
    run.place = SimpleNamespace(name="hall", queries=queries)  # type: ignore[assignment]
    run._folder, run._progress = folder, lambda *_: None
    run._preset = SimpleNamespace(localizer=1, extraction=2)  # type: ignore[assignment]
    source = SimpleNamespace(info=SimpleNamespace(model_hash="a"), config=config)
    run._extractors = SimpleNamespace(of_queries=source)  # type: ignore[assignment]

    def answer(query: QueryImage) -> QueryAnswer:
        asked.append(query.name)
        where = Pose(translation=np.array([float(len(asked)), 0.0, 0.0]))
        known = (query.name, "hall", query.condition, query.submitted, "global", where)
        return QueryAnswer(*known, truth=query.truth, asked=key_of(query.camera))

    run._answer = answer  # type: ignore[method-assign]
    return run.answers(), asked


@pytest.fixture(autouse=True)
def _one_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_run, "_digest", lambda path: "map")


def test_what_the_dataset_says_of_queries_is_taken_anew(tmp_path: Path) -> None:
    first, asked = answers(tmp_path, QUERIES)
    assert len(asked) == 3
    assert [one.error for one in first] == [None] * 3
    told = [replace(query, truth=Pose(), submitted="x.jpg", condition="night") for query in QUERIES]
    again, asked = answers(tmp_path, told)
    assert not asked
    assert [one.error for one in again] == [(1.0, 0.0), (2.0, 0.0), (3.0, 0.0)]
    assert {(one.submitted, one.condition) for one in again} == {("x.jpg", "night")}


def test_another_camera_or_another_source_of_features_asks_again(tmp_path: Path) -> None:
    answers(tmp_path, QUERIES)
    other = replace(QUERIES[1], camera=replace(CAMERA, params=(90.0, 90.0, 31.5, 23.5)))
    assert answers(tmp_path, [QUERIES[0], other, QUERIES[2]])[1] == ["1.jpg"]
    assert not answers(tmp_path, [QUERIES[0], other, QUERIES[2]])[1]
    assert len(answers(tmp_path, QUERIES, ("retrieval", "netvlad"))[1]) == 3
