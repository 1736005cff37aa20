"""Work handed out: in order, bounded, and with the same map at the end."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bags import wall_drive
from helpers import textured_image, tiny_model

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.mapping.keyframes.reading import described
from hfnet_core.mapping.keyframes.workers import HERE, Done, in_order, open_workers
from hfnet_core.mapping.keyframes.workspace import Workspace
from hfnet_core.maps.storage import save_map


class Counting:
    """Workers that note when a task is handed out and when its result is taken."""

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.out = self.most = 0

    def start(self, value: int) -> tuple[int, Done]:
        self.out += 1
        self.most = max(self.most, self.out)
        return value, Done(value * value)


@pytest.mark.parametrize("ahead", [0, 1, 5, 100])
def test_results_come_in_order_and_few_are_under_way(ahead: int) -> None:
    workers = Counting(ahead)
    seen = []
    for thing, result in in_order(workers, (workers.start(value) for value in range(20))):
        workers.out -= 1
        seen.append((thing, result))
    assert seen == [(value, value * value) for value in range(20)]
    assert workers.most == min(ahead + 1, 20)


def test_nobody_else_is_needed() -> None:
    with open_workers() as workers:
        assert workers is HERE
        assert workers.submit(max, workers.share([3, 7]), [5]).result() == [5]


def test_what_cannot_work_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="not both"), open_workers("tcp://127.0.0.1:1", 2):
        pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"hfnet_ros\[distributed\]"), open_workers(None, 2):
        pass


def test_an_extractor_travels_with_its_network(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    extractor = Extractor(open_backend(model, "onnxruntime", threads=2), ExtractorConfig(max_keypoints=50))
    image = textured_image()
    here = extractor.extract(image)
    sent = pickle.dumps(extractor)
    model.unlink()  # the other machine has no such file
    there = pickle.loads(sent).extract(image)
    for name in ("keypoints_px", "scores", "descriptors", "global_descriptor"):
        assert np.array_equal(getattr(here, name), getattr(there, name))


def test_keyframes_do_not_hold_the_dense_map(tmp_path: Path) -> None:
    extractor = Extractor(open_backend(tiny_model(tmp_path), "onnxruntime", threads=1))
    image = textured_image()
    assert extractor.extract(image).dense is not None
    ((_, _, kept),) = described([(0, image)], extractor, Workspace())
    assert len(kept) > 0
    assert kept.dense is None


@pytest.fixture(scope="module")
def two_workers() -> Iterator[object]:
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'hfnet_ros[distributed]'")
    with open_workers(count=2) as workers:
        yield workers


def test_two_workers_build_the_same_map(two_workers: object, tmp_path: Path) -> None:
    bag = wall_drive(tmp_path / "wall")
    config = MapBuildConfig(refine_intrinsics=False)
    extractor = Extractor(open_backend(None, "onnxruntime"), ExtractorConfig(max_keypoints=300))
    for name, workers in (("alone", HERE), ("together", two_workers)):
        built = build_map([bag], extractor, config, workspace=Workspace(None, workers))
        assert built.landmarks > 20
        save_map(built, tmp_path / f"{name}.hfmap")
    assert (tmp_path / "alone.hfmap").read_bytes() == (tmp_path / "together.hfmap").read_bytes()


def test_an_error_of_a_worker_is_ours(two_workers: object) -> None:
    extractor = Extractor(open_backend(None, "onnxruntime"), ExtractorConfig())
    pending = two_workers.submit(Extractor.extract, two_workers.share(extractor), np.zeros((2, 2), np.uint8))  # type: ignore[attr-defined]
    with pytest.raises(DatasetError, match="both sides must be at least"):
        pending.result()


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask is not installed: pip install 'hfnet_ros[distributed]'")
    monkeypatch.setattr("hfnet_core.mapping.keyframes.workers._PATIENCE_S", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers"), open_workers("tcp://127.0.0.1:1"):
        pass
