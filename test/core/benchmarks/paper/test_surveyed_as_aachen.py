"""Surveyed photos laid out as Aachen, their model by pycolmap with SIFT: localized where the surveyors stood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import shared_data
from surveyed_as_aachen import as_aachen

from hfnet_core.benchmarks.datasets.catalogue import open_dataset
from hfnet_core.benchmarks.paper.place_run import Extractors
from hfnet_core.benchmarks.paper.presets import preset_of
from hfnet_core.benchmarks.paper.run import Options, run_dataset
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import pose_error


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["fountain-P11", "entry-P10"])
def test_the_median_error_is_below_three_centimetres(name: str, tmp_path: Path) -> None:
    photos = shared_data("data", "strecha", name)
    truth = as_aachen(photos, tmp_path / "data")
    preset, backend = preset_of("aachen"), open_backend(None, "onnxruntime")
    extractors = Extractors(Extractor(backend, preset.building.extraction), Extractor(backend, preset.extraction))
    options = Options(conditions=("day",), pictures=0)
    found = run_dataset(
        open_dataset("aachen", tmp_path / "data"), tmp_path / "out", preset, extractors, options
    ).answers
    errors = [pose_error(truth[a.name], a.map_from_camera) for a in found if a.map_from_camera is not None]
    assert len(errors) == len(truth) == 4
    assert np.median([metres for metres, _ in errors]) <= 0.03
    assert max(degrees for _, degrees in errors) < 0.5
