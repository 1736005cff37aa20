"""Keyframes of a rectified pair, however the cameras are mounted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import Preparation
from hfnet_core.mapping.keyframes.reading import BuildTools, Keyframe, _stereo
from hfnet_core.types import Camera

CAMERA = Camera("PINHOLE", 320, 240, (300.0, 300.0, 159.5, 119.5))
DISPARITY_PX, BASELINE_M = 16, 0.1


@pytest.mark.parametrize("rotation", [0, 90, 180])
@pytest.mark.parametrize("masked", [False, True])
def test_keypoints_know_their_distance_where_cameras_are_turned_or_masked(
    tmp_path: Path, rotation: int, masked: bool
) -> None:
    scene = textured_image(320 + DISPARITY_PX, 240, seed=4)
    left, right = scene[:, :320], np.ascontiguousarray(scene[:, DISPARITY_PX:])
    mask = np.ones((240, 320), bool)
    mask[:, :60] = not masked
    tools = BuildTools(Extractor(open_backend(tiny_model(tmp_path), threads=1), ExtractorConfig(max_keypoints=300)))
    features = Preparation(rotation, mask).extract(tools.extractor, np.ascontiguousarray(left)).without_dense()
    pair: Any = SimpleNamespace(image=lambda stamp_ns: right, focal_px=300.0, baseline_m=BASELINE_M)
    keyframe = Keyframe("0/0", 1, 0, CAMERA, Pose(), features)
    found = _stereo(pair, keyframe, tools, rotation)
    assert found is not None
    known = np.isfinite(found.metres)
    assert known.sum() > 20
    assert np.median(found.metres[known]) == pytest.approx(300 * BASELINE_M / DISPARITY_PX, rel=0.05)
    if rotation:  # features of images that are turned differently have nothing in common
        upright = _stereo(pair, keyframe, tools, 0)
        assert upright is not None
        assert np.isfinite(upright.metres).sum() < 0.5 * known.sum()
