"""The refinement of a pose by what lies around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, GLOBAL_DIM, LOCAL_DIM, Scene, looking, unit

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import pose_error
from hfnet_core.localization import pose
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.hypothesis import Hypothesis, Look, hypothesis_of
from hfnet_core.localization.matching import match_all
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.types import Mode

TRUTH = looking(0.0, 0.1, 2.0)


@pytest.fixture(scope="module")
def terrace() -> Scene:
    """Few things near by in front of a town far away."""
    rng = np.random.default_rng(0)
    far = np.column_stack([rng.uniform(70, 90, 300), rng.uniform(-40, 40, 300), rng.uniform(-15, 30, 300)])
    near = np.column_stack([rng.uniform(2.5, 5, 250), rng.uniform(-2, 2, 250), rng.uniform(0.3, 2.5, 250)])
    points = np.vstack([far, near])
    count = len(points)
    return Scene(points, unit(rng.normal(size=(count, LOCAL_DIM))), rng.normal(size=(count, GLOBAL_DIM)))


def found_by_far_things(terrace: Scene, near: NearSearch, query: Query) -> Hypothesis:
    landmark_map = near._map
    far = np.flatnonzero(landmark_map.landmarks_xyz[:, 0] > 50.0).astype(np.int32)
    descriptors = landmark_map.landmark_descriptors[far].astype(np.float32)
    matches = match_all(query.views[0].features.descriptors, unit(descriptors), far, ratio=0.9)
    look = Look(0, tuple(range(landmark_map.keyframes)), query.located(0, matches, landmark_map))
    first = hypothesis_of(query, look, [look], Mode.GLOBAL, LocalizerConfig())
    assert first is not None
    return first


def test_what_is_near_is_found_although_only_far_things_told_the_pose(terrace: Scene) -> None:
    landmark_map = terrace.build_map([looking(0.2 * x, 0.3 * y, 3.0 * y) for x in range(-2, 3) for y in range(-2, 3)])
    near = NearSearch(landmark_map, LocalizerConfig())
    errors = []
    for seed in range(5):
        features, _ = terrace.view(TRUTH, seed=seed, noise_px=1.0)
        query = Query.of([View(features, CAMERA)], landmark_map)
        first = found_by_far_things(terrace, near, query)
        beside = replace(TRUTH, translation=np.add(TRUTH.translation, [0.0, 0.25, 0.0]))  # as likely, for all they tell
        solution = pose.agreeing(first.found, query, beside, LocalizerConfig())
        assert solution.mean() > 0.8
        refined = near.refine(query, replace(first, map_from_rig=beside, agreeing=solution))
        errors.append(pose_error(refined.map_from_rig, TRUTH)[0])
        close = np.linalg.norm(refined.found.points - TRUTH.translation, axis=1) < 10.0
        assert np.count_nonzero(close & refined.agreeing) > 50
    assert max(errors) < 0.03
