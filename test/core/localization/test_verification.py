"""The second witness: dense descriptors where landmarks should be that the pose was not fitted to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scene import CAMERA, LOCAL_DIM, Scene, looking, unit, walk
from scipy.spatial import cKDTree

from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.verification import verify
from hfnet_core.projection import project
from hfnet_core.types import Float32

TRUTH = looking(0.3, 0.9, 155.0)


class Dense:
    """The descriptor of the nearest point of the scene, noise where none is near or to the right of `until_px`.

    blur: how much of what it shows is noise.
    """

    def __init__(self, scene: Scene, map_from_camera: Pose, until_px: float = np.inf, blur: float = 0.0) -> None:
        pixels, visible = project(scene.points, map_from_camera, CAMERA)
        facing = np.einsum("ij,ij->i", scene.points[:, :2], scene.points[:, :2] - map_from_camera.translation[:2]) > 0
        shown = visible & facing & (pixels[:, 0] < until_px)
        self._tree = cKDTree(pixels[shown])
        noise = unit(np.random.default_rng(1).normal(size=(shown.sum(), LOCAL_DIM)))
        self._descriptors = unit((1.0 - blur) * scene.descriptors[shown] + blur * noise)

    def sample(self, xy_px: Float32) -> Float32:
        distance, nearest = self._tree.query(xy_px)
        noise = unit(np.random.default_rng(0).normal(size=(len(xy_px), LOCAL_DIM)))
        return np.where(distance[:, None] < 8.0, self._descriptors[nearest], noise).astype(np.float32)


@pytest.fixture(scope="module")
def asked() -> tuple[Query, Hypothesis, Localizer]:
    scene = Scene.make()
    localizer = Localizer(scene.build_map(walk()))
    features = dataclasses.replace(scene.view(TRUTH)[0], dense=Dense(scene, TRUTH))
    few = dataclasses.replace(
        features,
        keypoints_px=features.keypoints_px[:60],
        scores=features.scores[:60],
        descriptors=features.descriptors[:60],
    )  # most landmarks are not explained by a keypoint
    views = [View(few, CAMERA)]
    (candidate, *_) = localizer.candidates(views)
    return Query.of(views, localizer.map), candidate.hypothesis, localizer


def test_a_right_pose_predicts_what_it_was_not_fitted_to(asked: tuple[Query, Hypothesis, Localizer]) -> None:
    query, hypothesis, localizer = asked
    witness = verify(query, hypothesis, localizer.map)
    assert witness is not None
    assert witness.asked > 50
    assert witness.hits > 0.8 * witness.asked
    assert witness.agreement > 10.0


def test_a_wrong_pose_does_not(asked: tuple[Query, Hypothesis, Localizer]) -> None:
    query, hypothesis, localizer = asked
    wrong = dataclasses.replace(hypothesis, map_from_rig=looking(-0.9, 0.2, 100.0))
    witness = verify(query, wrong, localizer.map)
    assert witness is not None
    assert witness.hits < 0.3 * max(witness.asked, 1)
    assert witness.agreement < 0.0


def test_one_thing_in_common_speaks_against_a_pose_the_more_the_sharper_it_is(
    asked: tuple[Query, Hypothesis, Localizer],
) -> None:
    """A door of the place in another corridor: what fits fits well, and the rest of the image is of something else."""
    query, hypothesis, localizer = asked
    scene, found = Scene.make(), []
    for blur in (0.0, 0.75):
        features = dataclasses.replace(query.views[0].features, dense=Dense(scene, TRUTH, 250.0, blur))
        support = hypothesis.found.pixels[:, 0] < 250.0
        one_side = dataclasses.replace(hypothesis, agreeing=hypothesis.agreeing & support)
        witness = verify(Query((View(features, CAMERA),)), one_side, localizer.map)
        assert witness is not None
        found.append(witness)
    sharp, blurred = found
    assert sharp.agreement < blurred.agreement
    assert sharp.alike < 0.7 * sharp.cells


def test_landmarks_that_were_seen_from_another_side_are_not_asked(
    asked: tuple[Query, Hypothesis, Localizer],
) -> None:
    """They would not be found where the pose is right either."""
    query, hypothesis, localizer = asked
    behind = localizer.map.keyframe_poses.copy()
    points = localizer.map.landmarks_xyz.astype(np.float64).mean(axis=0)
    behind[:, :, 3] = points + 4.0 * (points - TRUTH.translation)  # from behind the walls
    turned = dataclasses.replace(localizer.map, keyframe_poses=behind)
    witness = verify(query, hypothesis, turned)
    assert witness is not None
    known = verify(query, hypothesis, localizer.map)
    assert known is not None
    assert witness.asked < 0.2 * known.asked


def test_without_dense_descriptors_there_is_no_witness(asked: tuple[Query, Hypothesis, Localizer]) -> None:
    query, hypothesis, localizer = asked
    bare = Query(tuple(dataclasses.replace(view, features=view.features.without_dense()) for view in query.views))
    assert verify(bare, hypothesis, localizer.map) is None
