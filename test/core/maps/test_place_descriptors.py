"""Global descriptors adapted to the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drive import INFO, drive
from scene import GLOBAL_DIM, LOCAL_DIM, assemble_map, unit

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.maps.landmark_map import LandmarkMap


@pytest.fixture(scope="module")
def built() -> LandmarkMap:
    return build_from_keyframes(Placed(drive(views=5, landmarks=80).keyframes, "site"), INFO, MapBuildConfig())


def test_they_are_sums_weighted_by_the_cubed_share_of_landmarks_in_common(built: LandmarkMap) -> None:
    assert len(built.covisible_keyframes) > 0
    seen = [set(built.landmarks_of(keyframe).tolist()) for keyframe in range(built.keyframes)]
    expected = np.array(built.global_descriptors, np.float64)
    for keyframe in range(built.keyframes):
        for other in built.covisible_with(keyframe)[0]:
            share = len(seen[keyframe] & seen[other]) / max(len(seen[keyframe]), len(seen[other]))
            expected[keyframe] += share**3 * built.global_descriptors[other]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(built.place_descriptors, expected, atol=1e-6)
    assert built.place_descriptors.dtype == np.float32


def test_a_keyframe_without_neighbours_keeps_its_own(built: LandmarkMap) -> None:
    none = np.zeros(0, np.int32)
    alone = replace(built, covisible_offsets=np.zeros(built.keyframes + 1, np.int64), covisible_keyframes=none,
                    covisible_weights=none)  # fmt: skip
    np.testing.assert_allclose(alone.place_descriptors, built.global_descriptors, atol=1e-6)


def test_noise_of_single_views_matters_less() -> None:
    """Keyframes of two places; a query of one of them finds it in spite of noise that misleads plain descriptors."""
    rng, trials = np.random.default_rng(0), 200
    of_place = 6
    rows = [(place * 8 + corner, place * of_place + view, corner)
            for place in range(2) for view in range(of_place) for corner in range(8)]  # fmt: skip
    pixels, descriptors = [np.zeros((8, 2), np.float32)] * 12, [np.eye(8, LOCAL_DIM, dtype=np.float32)] * 12
    points = rng.normal(size=(16, 3))
    hits = {"global_descriptors": 0, "place_descriptors": 0}
    for _ in range(trials):
        places = rng.normal(size=(2, GLOBAL_DIM))
        views = unit(places.repeat(of_place, axis=0) + 2.0 * rng.normal(size=(12, GLOBAL_DIM)))
        made = assemble_map(rows, pixels, descriptors, list(views), [Pose(np.eye(3), np.zeros(3))] * 12, points)
        query = unit(places[:1] + 2.0 * rng.normal(size=(1, GLOBAL_DIM)))[0]
        for name in hits:
            hits[name] += int(Retriever(getattr(made, name)).query(query, 1)[0][0] < of_place)
    assert hits["place_descriptors"] > hits["global_descriptors"] + 0.05 * trials


@pytest.mark.parametrize(("name", "value"), [("covisible_keyframes", 10**6), ("covisible_offsets", 10**6)])
def test_a_damaged_graph_is_refused(built: LandmarkMap, name: str, value: int) -> None:
    changed = np.array(getattr(built, name))
    changed[1] = value
    with pytest.raises(MapError, match=name):
        _ = replace(built, **{name: changed}).place_descriptors
