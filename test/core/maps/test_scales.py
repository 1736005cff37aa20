"""Maps whose landmarks are described at several scales: made, kept, thinned out, handed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drive import INFO, drive

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.maintenance.prune import map_bytes
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.mapping.look_alikes import features_of
from hfnet_core.maps.descriptors import unit
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.types import Scaled

FACTORS = (0.5, 2.0)


@pytest.fixture(scope="module")
def several() -> LandmarkMap:
    """At half the size everything looks mirrored, at twice the size as it is."""
    scene = drive(views=4, landmarks=60)
    keyframes = [
        replace(
            item,
            features=replace(
                item.features,
                scaled=Scaled(
                    FACTORS,
                    np.stack([item.features.descriptors[:, ::-1], item.features.descriptors]).astype(np.float16),
                ),
            ),
        )
        for item in scene.keyframes
    ]
    return build_from_keyframes(Placed(keyframes, "site", {}), INFO, MapBuildConfig())


def test_a_landmark_keeps_the_mean_of_what_its_keypoints_look_like_at_each_scale(several: LandmarkMap) -> None:
    assert several.scale_factors.tolist() == list(FACTORS)
    mean = unit(several.landmark_descriptors)
    half, twice = (unit(rows) for rows in several.scaled_descriptors)
    assert np.einsum("ld,ld->l", twice, mean).min() > 0.999
    assert np.einsum("ld,ld->l", half, mean[:, ::-1]).min() > 0.999


def test_scales_are_kept_in_the_file(several: LandmarkMap, tmp_path: Path) -> None:
    save_map(several, tmp_path / "a.hfmap")
    found = load_map(tmp_path / "a.hfmap", verify=True)
    assert np.array_equal(found.scale_factors, several.scale_factors)
    assert np.array_equal(found.scaled_descriptors, several.scaled_descriptors)
    one = replace(several, scale_factors=several.scale_factors[:0])
    save_map(one, tmp_path / "b.hfmap")
    assert not len(load_map(tmp_path / "b.hfmap").scale_factors)
    growth = (tmp_path / "a.hfmap").stat().st_size - (tmp_path / "b.hfmap").stat().st_size
    assert growth == pytest.approx(map_bytes(several) - map_bytes(one), abs=1000)


def test_damaged_factors_are_refused(several: LandmarkMap) -> None:
    with pytest.raises(MapError, match="scale_factors"):
        replace(several, scale_factors=np.array([np.nan, 2.0], np.float32)).check_structure()
    with pytest.raises(MapError, match="scaled_descriptors"):
        replace(several, scaled_descriptors=several.scaled_descriptors[:, :-1])


def test_a_part_of_a_map_keeps_the_scales_of_its_landmarks(several: LandmarkMap) -> None:
    wanted = np.arange(several.landmarks) % 2 == 0
    part = keep_keyframes(several, np.ones(several.keyframes, bool), wanted)
    assert np.array_equal(part.scaled_descriptors, several.scaled_descriptors[:, wanted])


def test_what_a_map_says_of_a_keyframe_goes_on_into_the_next_map(several: LandmarkMap) -> None:
    features = features_of(several, 1)
    assert features.scaled is not None
    assert features.scaled.factors == FACTORS
    assert features.scaled.descriptors.shape == (2, len(features), features.descriptors.shape[1])
    assert np.einsum("kd,kd->k", features.scaled.descriptors[1], features.descriptors).min() > 0.95
    some = features.where(np.arange(3)).scaled
    assert some is not None
    assert np.array_equal(some.descriptors, features.scaled.descriptors[:, :3])
