"""A robot with a map for each floor: which one is it in, and what is in memory."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scene import CAMERA, Scene, looking, refurnished, walk

from hfnet_core.config import LocalizerConfig
from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.several.finder import MapFinder
from hfnet_core.localization.several.tracker import MapsTracker
from hfnet_core.maps.library.library import LoadedMap, MapLibrary
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.types import Localized, NotLocalized, Reason

UNHURRIED = LocalizerConfig(search_budget_ms=1000.0)
QUERY = looking(0.3, 0.9, 155.0)
FLOORS = ("attic", "cellar", "hall")


@pytest.fixture(scope="module")
def floors() -> dict[str, Scene]:
    return {name: Scene.make(2500, seed=number) for number, name in enumerate(FLOORS)}


@pytest.fixture(scope="module")
def folder(floors: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("building")
    for name, scene in floors.items():
        save_map(replace(scene.build_map(walk(12)), frame_id=name), path / f"{name}.hfmap")
    return path


@pytest.fixture(scope="module")
def doubles(floors: dict[str, Scene], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two floors of one plan and paint."""
    path = tmp_path_factory.mktemp("doubles")
    for name in ("first", "second"):
        save_map(floors["hall"].build_map(walk(12)), path / f"{name}.hfmap")
    return path


def library(folder: Path, most: int = 2) -> MapLibrary[LoadedMap]:
    return MapLibrary(folder, lambda path: LoadedMap(load_map(path), path), most)


def view(scene: Scene, pose: Pose = QUERY, seed: int = 0) -> list[View]:
    return [View(scene.view(pose, seed=seed)[0], CAMERA)]


def test_an_image_is_found_in_the_map_that_it_shows(floors: dict[str, Scene], folder: Path) -> None:
    finder = MapFinder(library(folder), UNHURRIED)
    for name, scene in floors.items():
        found = finder.find(view(scene))
        assert isinstance(found, Localized), found
        assert found.map_name == name
        assert pose_error(found.map_from_camera, QUERY)[0] < 0.05


def test_only_some_maps_are_in_memory_and_descriptors_of_all(floors: dict[str, Scene], folder: Path) -> None:
    known = library(folder, most=2)
    assert set(known.entries) == set(FLOORS)
    assert len(known.loaded) == 2
    finder = MapFinder(known, UNHURRIED)
    finder.find(view(floors["attic"]))
    assert len(known.loaded) <= 2
    assert known.loaded[-1] == "attic"
    assert known.ranked(floors["cellar"].view(QUERY)[0].global_descriptor)[0][0] == "cellar"


def test_what_none_of_them_shows_has_no_pose(folder: Path) -> None:
    found = MapFinder(library(folder), UNHURRIED).find(view(Scene.make(2500, seed=99)))
    assert isinstance(found, NotLocalized)


def test_two_floors_of_one_plan_and_paint_are_told_and_not_believed(floors: dict[str, Scene], doubles: Path) -> None:
    found = MapFinder(library(doubles), UNHURRIED).find(view(floors["hall"]))
    assert isinstance(found, NotLocalized)
    assert found.reason is Reason.AMBIGUOUS
    assert "in first" in found.detail
    assert "in second" in found.detail


def repainted(scene: Scene, share: float) -> Scene:
    """The same room, `share` of its points looking otherwise."""
    fresh, own = Scene.make(2500, seed=77), np.random.default_rng(1).random(2500) < share
    return Scene(
        scene.points,
        np.where(own[:, None], fresh.descriptors, scene.descriptors),
        np.where(own[:, None], fresh.words, scene.words),
    )


@pytest.mark.parametrize(("share", "told"), [(0.2, False), (0.65, True)])
def test_a_floor_that_explains_half_as_much_and_convinces_leaves_it_open(
    floors: dict[str, Scene], tmp_path: Path, share: float, told: bool
) -> None:
    other = repainted(floors["hall"], share)
    for name, scene in (("first", floors["hall"]), ("second", other)):
        save_map(scene.build_map(walk(12)), tmp_path / f"{name}.hfmap")
    finder = MapFinder(library(tmp_path), UNHURRIED)
    for scene, name in ((floors["hall"], "first"), (other, "second")):
        found = finder.find(view(scene))
        assert isinstance(found, Localized) is told
        if isinstance(found, Localized):
            assert found.map_name == name
        else:
            assert found.reason is Reason.AMBIGUOUS


def test_a_double_is_asked_though_another_map_resembles_the_image_more(
    floors: dict[str, Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "third", "fourth", "fifth"):
        save_map(
            floors["hall" if name in ("first", "fifth") else "attic"].build_map(walk(12)), tmp_path / f"{name}.hfmap"
        )
    known = library(tmp_path)
    similar = {"first": 0.8, "second": 0.7, "third": 0.7, "fourth": 0.7, "fifth": 0.6}
    monkeypatch.setattr(known, "ranked", lambda _: list(similar.items()))
    found = MapFinder(known, UNHURRIED).find(view(floors["hall"]))
    assert isinstance(found, NotLocalized)
    assert found.reason is Reason.AMBIGUOUS
    assert "first" in found.detail
    assert "fifth" in found.detail


@pytest.mark.parametrize(
    ("confidence", "inliers", "rival"),
    [
        (0.98, 100, True),
        (0.98, 55, False),
        (0.9995, 55, True),  # there are two of it in that map
        (0.98, 10, False),
        (0.1, 100, False),
        (np.nan, 0, False),
    ],
)
def test_a_pose_that_was_not_believed_speaks_against_one_in_another_map(
    floors: dict[str, Scene],
    doubles: Path,
    monkeypatch: pytest.MonkeyPatch,
    confidence: float,
    inliers: int,
    rival: bool,
) -> None:
    finder = MapFinder(library(doubles), UNHURRIED)
    best = finder.opened("first").localizer.localize(view(floors["hall"]))
    assert isinstance(best, Localized)
    refused = NotLocalized(Reason.WEAK_EVIDENCE, inliers=round(0.01 * inliers * best.inliers), confidence=confidence)
    monkeypatch.setattr(finder.opened("second").localizer, "localize", lambda *_: refused)
    found = finder.find(view(floors["hall"]))
    assert isinstance(found, NotLocalized) is rival


def test_maps_that_nothing_resembles_are_asked_alike(
    floors: dict[str, Scene], doubles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = library(doubles)
    monkeypatch.setattr(known, "ranked", lambda _: [("first", -0.1), ("second", -0.1)])
    found = MapFinder(known, UNHURRIED).find(view(floors["hall"]))
    assert isinstance(found, NotLocalized)
    assert found.reason is Reason.AMBIGUOUS


def test_a_map_that_breaks_while_it_is_asked_leaves_the_answer_of_another(
    floors: dict[str, Scene], doubles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder = MapFinder(library(doubles), UNHURRIED)

    def broken(*_: object) -> None:
        raise MapError("second.hfmap: is damaged")

    monkeypatch.setattr(finder.opened("second").localizer, "localize", broken)
    found = finder.find(view(floors["hall"]))
    assert isinstance(found, Localized)
    assert found.map_name == "first"


def test_a_floor_that_looks_the_same_is_not_taken_for_where_the_robot_has_gone(
    floors: dict[str, Scene], doubles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MapsTracker(library(doubles), UNHURRIED)
    tracker.set_prior(QUERY, 0.0)
    here = tracker.current
    refused = NotLocalized(Reason.WEAK_EVIDENCE)
    monkeypatch.setattr(tracker._here.tracker, "process", lambda *_: refused)
    for step in range(6):
        assert tracker.process(view(floors["hall"], seed=step), 0.2 * step) is refused
    assert tracker.current == here


def test_a_robot_that_takes_the_lift_is_followed_once_images_agree(floors: dict[str, Scene], folder: Path) -> None:
    tracker = MapsTracker(library(folder), UNHURRIED)
    way = [looking(0.3 + 0.05 * step, 0.9, 155.0 + step) for step in range(6)]
    said = []
    for step, pose in enumerate(way):
        scene = floors["cellar" if step < 3 else "hall"]
        found = tracker.process(view(scene, pose, seed=step), 0.2 * step)
        said.append(found.map_name if isinstance(found, Localized) else "")
        if isinstance(found, Localized):
            assert pose_error(found.map_from_camera, pose)[0] < 0.05
    assert said == ["cellar", "cellar", "cellar", "", "hall", "hall"]
    assert tracker.current == "hall"


def test_the_map_in_use_stays_as_it_was_loaded_whatever_becomes_of_its_file(
    floors: dict[str, Scene], folder: Path, tmp_path: Path
) -> None:
    for name in ("cellar", "hall"):
        shutil.copy(folder / f"{name}.hfmap", tmp_path)
    known = library(tmp_path, most=1)
    tracker = MapsTracker(known, UNHURRIED)
    assert isinstance(tracker.process(view(floors["hall"]), 0.0), Localized)
    Path(shutil.copy(folder / "attic.hfmap", tmp_path / "hall.new")).replace(tmp_path / "hall.hfmap")
    known.held("cellar")
    assert known.loaded == ("cellar",)
    found = tracker.process(view(floors["hall"]), 0.2)
    assert isinstance(found, Localized)
    assert tracker.held.landmark_map is tracker.localizer.map
    tracker.configure(UNHURRIED)
    assert tracker.held.landmark_map is tracker.localizer.map
    assert isinstance(tracker.process(view(floors["hall"]), 0.4), Localized)


def with_double(floors: dict[str, Scene], folder: Path, names: tuple[str, ...]) -> Scene:
    """Maps of the hall and of a room like it 100 m off, which is returned: one end of it is furnished otherwise."""
    other = refurnished(floors["hall"], 0.3)
    save_map(floors["attic"].build_map(walk(12)), folder / "attic.hfmap")
    for name in names:
        save_map(floors["hall"].build_double_map(walk(12), other), folder / f"{name}.hfmap")
    return other


def test_look_alike_places_of_one_map_are_followed_in_it(floors: dict[str, Scene], tmp_path: Path) -> None:
    other = with_double(floors, tmp_path, ("hall",))
    tracker = MapsTracker(library(tmp_path), UNHURRIED)
    answers = []
    for step in range(10):  # from the end that is the same to the one that is not
        pose = looking(0.0, 0.2, 180.0 - 20.0 * step)
        result = tracker.process(view(other, pose, 100 + step), 0.5 * step, pose)
        if isinstance(result, Localized):
            assert pose_error(result.map_from_camera, Pose(translation=np.array([100.0, 0, 0])) @ pose)[0] < 0.1
        elif not step:
            assert result.reason is Reason.AMBIGUOUS
            assert [place.map_name for place in result.places] == ["hall", "hall"]
        assert tracker.current == "hall"
        answers.append(isinstance(result, Localized))
    assert not answers[0]
    assert answers[-3:] == [True] * 3


def test_places_of_two_maps_are_not_told_as_if_they_were_of_one(floors: dict[str, Scene], tmp_path: Path) -> None:
    with_double(floors, tmp_path, ("hall", "hall again"))
    tracker = MapsTracker(library(tmp_path), UNHURRIED)
    result = tracker.process(view(floors["hall"], looking(0.0, 0.2, 180.0)), 0.0)
    assert isinstance(result, NotLocalized)
    assert result.reason is Reason.AMBIGUOUS
    assert result.places == ()
    assert result.keyframes == ()
    assert tracker.current == "attic"


def test_a_tracker_that_forgets_asks_all_maps_again(floors: dict[str, Scene], folder: Path) -> None:
    tracker = MapsTracker(library(folder), UNHURRIED)
    assert isinstance(tracker.process(view(floors["hall"]), 0.0), Localized)
    tracker.reset()
    found = tracker.process(view(floors["attic"]), 0.2)
    assert isinstance(found, Localized)
    assert found.map_name == "attic"


def test_a_pose_that_somebody_gives_is_of_the_current_map(floors: dict[str, Scene], folder: Path) -> None:
    tracker = MapsTracker(library(folder), UNHURRIED)
    tracker.process(view(floors["hall"]), 0.0)
    tracker.set_prior(QUERY, 0.1)
    found = tracker.process(view(floors["hall"]), 0.2)
    assert isinstance(found, Localized)
    assert (found.map_name, found.mode.value) == ("hall", "tracking")


def test_a_map_that_cannot_be_read_is_named_and_the_others_serve(
    floors: dict[str, Scene], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("hfnet_core.maps.library.library.time.monotonic", lambda: now_s[0])
    for name in ("cellar", "hall"):
        shutil.copy(folder / f"{name}.hfmap", tmp_path)
    (tmp_path / "attic.hfmap").write_bytes(b"no map")
    known = library(tmp_path, most=1)
    assert set(known.entries) == {"cellar", "hall"}
    assert str(tmp_path / "attic.hfmap") in known.unusable["attic"]
    tracker = MapsTracker(known, UNHURRIED)
    (tmp_path / "hall.hfmap").write_bytes(b"no map either")  # read when it is needed
    known.held("cellar")
    assert isinstance(MapFinder(known, UNHURRIED).find(view(floors["cellar"])), Localized)
    with pytest.raises(MapError, match=r"hall\.hfmap"):
        known.held("hall")
    assert set(known.unusable) == {"attic", "hall"}
    for step in range(2):  # an image of what cannot be had is not the end of the others
        assert isinstance(tracker.process(view(floors["hall"]), 0.2 * step), NotLocalized)
    assert isinstance(tracker.process(view(floors["cellar"]), 1.0), Localized)
    shutil.copy(folder / "hall.hfmap", tmp_path)
    now_s[0] += 10.0
    assert isinstance(MapFinder(known, UNHURRIED).find(view(floors["hall"])), Localized)
    assert set(known.unusable) == {"attic"}
    known.set_aside("hall", "damaged")
    known.set_aside("cellar", "damaged, too")
    with pytest.raises(MapError, match="damaged, too"):
        MapFinder(known, UNHURRIED).find(view(floors["hall"]))
    for name in ("cellar", "hall"):
        (tmp_path / f"{name}.hfmap").unlink()
    with pytest.raises(MapError, match="none of its maps can be used"):
        library(tmp_path)


def test_folders_without_maps_and_maps_of_other_models_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"no map \(\.hfmap\) in this folder"):
        library(tmp_path)
    with pytest.raises(MapError, match="all maps of a folder must be of the model in use"):
        library(folder).ranked(np.zeros(5, np.float32))
    known = library(folder, most=1)
    (tmp_path / "gone").mkdir()
    known.entries["attic"] = replace(known.entries["attic"], path=tmp_path / "gone" / "attic.hfmap")
    known.held("hall")
    with pytest.raises(MapError, match="no such map"):
        known.held("attic")
