"""Images of cameras that roll are turned before the network: as poses and gravity tell, or by trying."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers import tiny_model
from scipy.spatial.transform import Rotation
from wall import CAMERA, map_from_camera, wall_map

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.turning import turns as module
from hfnet_core.localization.turning.turns import Answers, Looked, Turns
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Features, Localization, Localized, Mode, NotLocalized, Reason

UP, LEFT = np.array([0.0, -1.0, 0.0]), np.array([-1.0, 0.0, 0.0])  # in a camera: of an upright one, of one on its side
NONE = np.zeros((0, 2), np.float32)


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> LandmarkMap:
    return wall_map(tiny_model(tmp_path_factory.mktemp("model")))


def rolled(degrees: float) -> Pose:
    """upright_from_rolled: of a camera whose images are upright after this clockwise turn."""
    return Pose(Rotation.from_euler("z", degrees, degrees=True).as_matrix())


class Robot:
    """Cameras, held in one way or another, that are found where their images are turned so.

    wanted: by which rotation; None finds nothing. asked: with which rotations somebody was asked, in order.
    """

    def __init__(self, wall: LandmarkMap, turns: Turns, names: Sequence[str] = ("",)) -> None:
        self.wall, self.turns, self.names = wall, turns, names
        self.wanted: int | None = 0
        self.held = 0.0
        self.refusal = NotLocalized(Reason.WEAK_EVIDENCE)
        self.awaits = False
        self.asked: list[tuple[int, ...]] = []

    def view(self, name: str, rotation: int) -> View:
        features = Features(
            NONE, NONE[:, 0], np.zeros((0, 8), np.float32), NONE[:, 0], CAMERA.width, CAMERA.height, rotation=rotation
        )
        return View(features, CAMERA)

    def answer(self, views: Sequence[View]) -> Localization:
        rotations = tuple(view.features.rotation for view in views)
        self.asked.append(rotations)
        if set(rotations) != {self.wanted}:
            return self.refusal
        pose = map_from_camera(0) @ rolled(self.held)
        nothing = np.zeros(0, np.int32)
        return Localized(pose, np.eye(6), Mode.GLOBAL, 50, 60, NONE, nothing, (0, 1), 0.5, 1.0)

    def show(self, up: np.ndarray | None = None) -> tuple[Looked, list[tuple[int, ...]]]:
        """What is said of the next image, and with which rotations it was looked at."""
        self.asked = []
        ask = Answers(self.answer, self.view, lambda: self.wall, lambda: self.awaits)
        views = {name: self.view(name, self.turns.rotation(name, 0)) for name in self.names}
        looked = self.turns.find(views, ask, None if up is None else dict.fromkeys(self.names, up))
        return looked, self.asked


def robot(wall: LandmarkMap, *names: str, patient: bool = False, **settings: object) -> Robot:
    config = LocalizerConfig(**settings)  # type: ignore[arg-type]
    return Robot(wall, Turns(config, patient=patient), names or ("",))


def test_an_upright_image_that_is_found_is_looked_at_once(wall: LandmarkMap) -> None:
    looked, asked = robot(wall).show()
    assert isinstance(looked.result, Localized)
    assert asked == [(0,)]
    assert "turning" not in looked.result.timings_s


def test_who_has_time_tries_all_turns(wall: LandmarkMap) -> None:
    patient = robot(wall, patient=True)
    patient.wanted, patient.held = 180, 180
    looked, asked = patient.show()
    assert isinstance(looked.result, Localized)
    assert looked.views[""].features.rotation == 180
    assert asked == [(0,), (90,), (270,), (180,)]
    assert looked.result.timings_s["turning"] > 0


def test_what_no_turn_helps_is_refused_as_it_was(wall: LandmarkMap) -> None:
    patient = robot(wall, patient=True)
    patient.wanted = None
    looked, asked = patient.show()
    assert isinstance(looked.result, NotLocalized)
    assert looked.views[""].features.rotation == 0
    assert len(asked) == 4


def test_others_try_one_more_turn_with_each_image(wall: LandmarkMap) -> None:
    """The next image begins as the last one was found."""
    node = robot(wall)
    node.wanted, node.held = 270, 270
    assert node.show()[1] == [(0,), (90,)]
    assert node.show()[1] == [(0,), (270,)]
    assert node.show()[1] == [(270,)]


def test_who_is_lost_begins_by_turns_as_found_last_and_as_mounted(wall: LandmarkMap) -> None:
    node = robot(wall)
    node.wanted, node.held = 90, 90
    node.show()
    node.wanted = None
    assert [node.show()[1][0] for _ in range(6)] == [(90,), (90,), (90,), (0,), (90,), (0,)]


def looks_of_lost(
    wall: LandmarkMap, monkeypatch: pytest.MonkeyPatch, images: int, search_s: float, settings: dict[str, float]
) -> list[int]:
    """How often each image of one that is never found was looked at, where every look takes so long."""
    node, clock = robot(wall, **settings), [0.0]
    node.wanted = None
    answer = node.answer

    def costly(views: Sequence[View]) -> Localization:
        clock[0] += search_s
        return answer(views)

    monkeypatch.setattr(node, "answer", costly)
    monkeypatch.setattr(module.time, "thread_time", lambda: clock[0])
    return [len(node.show()[1]) for _ in range(images)]


def test_turns_are_paid_with_what_searches_leave(wall: LandmarkMap, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here a search takes 30 of 40 ms: once what was saved is spent, two of three images can afford another one."""
    looks = looks_of_lost(wall, monkeypatch, 30, 0.03, {"search_budget_ms": 40.0})
    assert looks[:3] == [2, 2, 2]
    assert sum(looks[12:]) == 18 + 12


def test_who_begins_tries_all_turns_whatever_they_take(wall: LandmarkMap, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of an image take longer than the search that they are for; half of its 40 ms is saved each time."""
    looks = looks_of_lost(wall, monkeypatch, 30, 0.1, {"search_budget_ms": 40.0})
    assert looks[:3] == [2, 2, 2]
    assert sum(looks[10:]) == 20 + 4


@pytest.mark.parametrize("mode", ["off", "follow"])
def test_turns_are_not_tried_where_that_is_not_wanted(wall: LandmarkMap, mode: str) -> None:
    node = robot(wall, turns=mode, patient=True)
    node.wanted = 90
    assert node.show()[1] == [(0,)]


@pytest.mark.parametrize(("held", "expected"), [(0, 0), (40, 0), (60, 90), (120, 90), (200, 180), (300, 270)])
def test_the_next_image_is_turned_as_the_pose_tells(wall: LandmarkMap, held: float, expected: int) -> None:
    node = robot(wall, turns="follow")
    node.held = held
    node.show()
    assert node.turns.rotation("", 0) == expected


def test_without_turns_no_pose_changes_anything(wall: LandmarkMap) -> None:
    node = robot(wall, turns="off")
    node.held = 90
    node.show()
    assert node.turns.rotation("", 0) == 0


def test_gravity_tells_which_turn_to_try(wall: LandmarkMap) -> None:
    node = robot(wall, patient=True)
    node.wanted, node.held = 90, 90
    assert node.show(up=LEFT)[1] == [(0,), (90,)]


def test_a_robot_that_stands_upright_by_gravity_tries_nothing(wall: LandmarkMap) -> None:
    node = robot(wall, patient=True)
    node.wanted = None
    assert node.show(up=UP)[1] == [(0,)]


def test_gravity_says_nothing_of_a_camera_that_looks_down(wall: LandmarkMap) -> None:
    node = robot(wall, patient=True)
    node.wanted = None
    assert len(node.show(up=np.array([0.0, 0.0, -1.0]))[1]) == 4


def test_cameras_of_a_rig_are_not_tried_but_follow(wall: LandmarkMap) -> None:
    rig = robot(wall, "left", "right", patient=True)
    rig.wanted = 90
    assert rig.show()[1] == [(0, 0)]
    assert rig.show(up=LEFT)[1] == [(0, 0), (90, 90)]
    rig.held = 90
    rig.show(up=LEFT)
    assert [rig.turns.rotation(name, 0) for name in ("left", "right")] == [90, 90]


@pytest.mark.parametrize("names", [("",), ("left", "right")])
def test_one_bad_image_does_not_make_followers_forget_how_they_are_held(
    wall: LandmarkMap, names: tuple[str, ...]
) -> None:
    node = robot(wall, *names, turns="follow")
    node.held = 90
    node.show()
    node.wanted, bad = None, node.show()[1]
    assert bad == [(90,) * len(names), (0,) * len(names)]
    node.wanted = 90
    assert node.show()[1] == [(90,) * len(names)]


def test_one_of_several_places_is_looked_at_as_it_was_found(wall: LandmarkMap) -> None:
    node = robot(wall)
    answer = node.answer

    def ambiguous(views: Sequence[View]) -> Localization:
        found = answer(views)
        return NotLocalized(Reason.AMBIGUOUS) if isinstance(found, Localized) else found

    node.answer, node.wanted = ambiguous, 90  # type: ignore[method-assign]
    assert node.show()[1] == [(0,), (90,)]
    assert node.show()[1] == [(90,)]


@pytest.mark.parametrize("reason", [Reason.AMBIGUOUS, Reason.INCONSISTENT, Reason.BACKEND_FAILED, Reason.NO_MAP])
def test_a_refusal_that_turning_cannot_change_stays(wall: LandmarkMap, reason: Reason) -> None:
    node = robot(wall, patient=True)
    node.wanted, node.refusal = 90, NotLocalized(reason)
    assert node.show()[1] == [(0,)]


def test_an_answer_that_waits_for_the_next_image_is_not_disturbed(wall: LandmarkMap) -> None:
    node = robot(wall, patient=True)
    node.wanted, node.awaits = 90, True
    assert node.show()[1] == [(0,)]


def test_a_mounting_is_where_turns_begin(wall: LandmarkMap) -> None:
    node = robot(wall, patient=True)
    node.wanted = None
    node.turns.rotation("", 180)
    views = {"": node.view("", 180)}
    node.turns.find(views, Answers(node.answer, node.view, lambda: wall))
    assert node.asked == [(180,), (270,), (90,), (0,)]
