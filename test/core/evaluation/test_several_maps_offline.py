"""`hfnet localize` and a folder of maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from helpers import tiny_model
from wall import SHIFTS, view, wall_bag, wall_image, wall_map

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.bag import evaluate_bag
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.maps.storage import save_map
from hfnet_core.types import Localized


@pytest.fixture(scope="module")
def building(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model, folder) of two walls."""
    path = tmp_path_factory.mktemp("building")
    model = tiny_model(path)
    (path / "maps").mkdir()
    for seed, name in enumerate(("ground", "upper")):
        save_map(wall_map(model, seed), path / "maps" / f"{name}.hfmap")
    return model, path / "maps"


def offline(building: tuple[Path, Path]) -> OfflineLocalizer:
    config = LocalizerConfig(min_confidence=0.9, search_budget_ms=1000.0)
    return OfflineLocalizer(building[1], building[0], localizer=config)


def test_each_image_is_found_in_the_map_that_it_shows(building: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in (0, 1):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), view(SHIFTS[2], wall_image(seed)))
    found = [answer.result for answer in offline(building).images(tmp_path)]
    assert [one.map_name if isinstance(one, Localized) else "" for one in found] == ["ground", "upper"]


def test_a_bag_is_tracked_in_one_of_them_and_not_evaluated(building: tuple[Path, Path], tmp_path: Path) -> None:
    wall_bag(tmp_path / "bag", [32, 48, 64])
    own = offline(building)
    found = [answer.result for answer in own.bag(tmp_path / "bag")]
    assert all(isinstance(one, Localized) and one.map_name == "ground" for one in found)
    with pytest.raises(ConfigError, match="an evaluation takes one map"):
        evaluate_bag(own, tmp_path / "bag")
