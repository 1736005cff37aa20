"""Who describes keyframes: one network at one scale, or at several where the settings ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.keyframes.reading import BuildTools, described
from hfnet_core.mapping.keyframes.workspace import Workspace

SEVERAL = MapBuildConfig(multi_scale=True)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(open_backend(kind="onnxruntime", threads=1), ExtractorConfig(max_keypoints=40))


def test_scales_are_asked_for_by_the_settings_and_made_by_networks_alone(extractor: Extractor) -> None:
    assert BuildTools(extractor).describer is extractor
    assert BuildTools(extractor, SEVERAL).describer.info == extractor.info
    assert BuildTools(extractor, SEVERAL).describer is not extractor
    sift = SiftExtractor()
    assert BuildTools(sift, SEVERAL).describer is sift


def test_a_killed_build_finds_its_scales_again(extractor: Extractor, tmp_path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (96, 128), dtype=np.uint8)
    workspace = Workspace(tmp_path)
    first, again = (
        list(described([("a", image)], BuildTools(extractor, SEVERAL).describer, workspace)) for _ in range(2)
    )
    (_, key, made), (_, same, found) = first[0], again[0]
    assert key == same
    assert made.scaled is not None
    assert found.scaled is not None
    assert found.scaled.factors == made.scaled.factors == (0.5, 2.0)
    assert np.array_equal(found.scaled.descriptors, made.scaled.descriptors)
    ((_, other, plain),) = described([("a", image)], extractor, workspace)
    assert other != key
    assert plain.scaled is None


def test_features_kept_without_scales_stay_without(extractor: Extractor, tmp_path) -> None:
    image = np.random.default_rng(1).integers(0, 255, (96, 128), dtype=np.uint8)
    workspace = Workspace(tmp_path)
    for _ in range(2):
        ((_, _, features),) = described([("a", image)], extractor, workspace)
        assert features.scaled is None
