"""What tells two places apart that look alike: what both have mapped, not how well."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, places_map, walk

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.localization.twins.places import told_apart
from hfnet_core.mapping.look_alikes import with_look_alikes
from hfnet_core.projection import project
from hfnet_core.types import NotLocalized, Reason

HERE, APART = looking(0.3, 0.4, 45.0), Pose(translation=np.array([100.0, 0.0, 0.0]))


@pytest.fixture(scope="module")
def small() -> Scene:
    return Scene.make(2500)


def other_scene(scene: Scene, share: float) -> Scene:
    """`share` of the points look otherwise, chosen at random."""
    fresh, rng = Scene.make(2500, seed=9), np.random.default_rng(1)
    own = rng.random(len(scene.points)) < share
    descriptors = np.where(own[:, None], fresh.descriptors, scene.descriptors)
    return Scene(scene.points, descriptors, np.where(own[:, None], fresh.words, scene.words))


def hypotheses(here: Scene, there: Scene) -> tuple[Query, Hypothesis, Hypothesis, Localizer]:
    """An image of the first of two places, at its pose and at the double's."""
    rooms = places_map([(here, Pose(), walk(30)), (there, APART, walk(30))])
    localizer = Localizer(rooms)
    near = NearSearch(rooms, localizer.config)
    query = Query.of([View(here.view(HERE, seed=3)[0], CAMERA)], rooms)
    found = [near.trial(query, pose).hypothesis for pose in (HERE, APART @ HERE)]
    assert found[0] is not None
    assert found[1] is not None
    return query, near.refine(query, found[0]), near.refine(query, found[1]), localizer


@pytest.mark.parametrize(("share", "apart"), [(0.0, False), (0.4, False), (0.9, True)])
def test_places_are_told_apart_where_most_of_what_both_show_differs(small: Scene, share: float, apart: bool) -> None:
    query, one, other, localizer = hypotheses(small, other_scene(small, share))
    assert told_apart(query, one, other, localizer.map) is apart
    assert told_apart(query, other, one, localizer.map) is apart


@pytest.mark.parametrize(("until", "apart"), [(0.0, False), (0.08, False), (0.3, True)])
def test_one_thing_that_differs_suffices_if_it_is_large_enough(small: Scene, until: float, apart: bool) -> None:
    """A picture beside a lift: whatever projects to the left part of the image looks otherwise."""
    pixels, visible = project(small.points, HERE, CAMERA)
    own = visible & (pixels[:, 0] < until * CAMERA.width)
    fresh = Scene.make(2500, seed=9)
    descriptors = np.where(own[:, None], fresh.descriptors, small.descriptors)
    other = Scene(small.points, descriptors, np.where(own[:, None], fresh.words, small.words))
    query, one, double, localizer = hypotheses(small, other)
    assert told_apart(query, one, double, localizer.map) is apart


def test_what_was_mapped_from_nearer_by_is_not_believed_for_that(small: Scene) -> None:
    """Of the double only every third point was mapped: it explains a third of what the place itself does."""
    rng = np.random.default_rng(2)
    kept = np.flatnonzero(rng.random(len(small.points)) < 0.35)
    thin = Scene(small.points[kept], small.descriptors[kept], small.words[kept])
    localizer = Localizer(with_look_alikes(places_map([(small, Pose(), walk(30)), (thin, APART, walk(30))])))
    for seed in range(4):
        pose = looking(0.3, 0.4, 90.0 * seed)
        result = localizer.localize([View(small.view(pose, seed=seed)[0], CAMERA)])
        assert isinstance(result, NotLocalized)
        assert result.reason is Reason.AMBIGUOUS
        assert any(pose_error(place.map_from_camera, APART @ pose)[0] < 0.1 for place in result.places)
