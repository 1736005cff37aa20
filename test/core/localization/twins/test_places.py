"""What tells two places apart that look alike: what both have mapped, not how well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, places_map, walk

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import Query, View
from hfnet_core.localization.hypothesis import Hypothesis
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.nearby import NearSearch
from hfnet_core.localization.twins.places import Shown, is_hardly_mapped, told_apart
from hfnet_core.mapping.look_alikes import with_look_alikes
from hfnet_core.projection import project
from hfnet_core.types import Localized, NotLocalized, Reason

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


@pytest.mark.parametrize(
    ("seen", "expected", "less"),
    [(50.0, 400.0, True), (120.0, 400.0, False), (20.0, 120.0, False), (0.0, 130.0, True), (0.0, 0.0, False)],
)
def test_far_less_is_so_by_share_and_by_number(seen: float, expected: float, less: bool) -> None:
    assert Shown(expected, seen).far_less_than(Shown(400.0, 200.0)) is less


def test_nothing_is_less_than_nothing() -> None:
    assert not Shown(0.0, 0.0).far_less_than(Shown(0.0, 0.0))
    assert not is_hardly_mapped(0.0, beside=0.0)


@pytest.mark.parametrize(("share", "less"), [(0.0, False), (0.3, False), (0.7, True)])
def test_the_image_shows_far_less_of_a_place_that_differs_all_over(small: Scene, share: float, less: bool) -> None:
    query, one, other, localizer = hypotheses(small, other_scene(small, share))
    near = NearSearch(localizer.map, localizer.config)
    here, there = (near.shown(query, found.map_from_rig) for found in (one, other))
    assert there.expected == pytest.approx(here.expected, rel=0.3)
    assert there.far_less_than(here) is less
    assert not here.far_less_than(there)


def test_a_place_mapped_less_exactly_is_no_other_one(small: Scene) -> None:
    """Its landmarks are 3 cm off, which the image shows as well."""
    rough = Scene(
        small.points + np.random.default_rng(5).normal(0.0, 0.03, small.points.shape), small.descriptors, small.words
    )
    query, one, other, localizer = hypotheses(small, rough)
    assert other.guided < 0.7 * one.guided
    here, there = (localizer._near.shown(query, found.map_from_rig) for found in (one, other))
    assert there.seen > 0.8 * here.seen
    assert not there.far_less_than(here)


@pytest.mark.parametrize(
    "rig_from_camera", [Pose(), Pose.from_quat_xyzw([-0.5, 0.5, -0.5, 0.5], [0.1, 0.0, 0.4])], ids=["camera", "base"]
)
@pytest.mark.parametrize(("share", "believed"), [(1.0, True), (0.1, False), (0.0, True)])
def test_a_double_that_is_hardly_mapped_leaves_open_which_one_is_shown(
    small: Scene, share: float, believed: bool, rig_from_camera: Pose
) -> None:
    """Nothing is found of a share of the double's points: if that is all of it, the image shows the other place; if
    little of it was mapped, that says nothing. Where none of it is, there may be no such place."""
    rng = np.random.default_rng(4)
    alike = with_look_alikes(places_map([(small, Pose(), walk(30)), (small, APART, walk(30))]))
    fresh, kept = Scene.make(2500, seed=9), np.flatnonzero(rng.random(2500) < max(share, 1e-3))
    double = Scene(small.points[kept], fresh.descriptors[kept], fresh.words[kept])
    rooms = places_map([(small, Pose(), walk(30)), (double, APART, walk(30))])
    localizer = Localizer(replace(rooms, alike_keyframes=alike.alike_keyframes, alike_poses=alike.alike_poses))
    for seed in range(4):
        pose = looking(0.3, 0.4, 90.0 * seed)
        result = localizer.localize([View(small.view(pose, seed=seed)[0], CAMERA, rig_from_camera)])
        assert isinstance(result, Localized) is believed
        if isinstance(result, Localized):
            assert pose_error(result.map_from_camera @ rig_from_camera, pose)[0] < 0.1
        else:
            assert result.reason is Reason.WEAK_EVIDENCE
            assert "too little to tell them apart" in result.detail
