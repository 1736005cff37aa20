"""Places that look alike: never the wrong one; and the right one once something tells them apart."""

from __future__ import annotations

import numpy as np
import pytest
from scene import CAMERA, GLOBAL_DIM, LOCAL_DIM, Scene, looking, places_map, refurnished, unit, walk

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.search import MapSearch
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.mapping.look_alikes import with_look_alikes
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localized, NotLocalized, Reason

APART = Pose(translation=np.array([100.0, 0.0, 0.0]))
ODOM_FROM_MAP = Pose.from_quat_xyzw([0, 0, 0.6, 0.8], [5.0, -3.0, 0.0])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


@pytest.fixture(scope="module")
def small() -> Scene:
    return Scene.make(2500)


class Corridor(Scene):
    """Eight times the same door, 2.5 m apart, with the same posters on either side: points at y = -1 and 1 metres."""

    PERIOD_M = 2.5

    @classmethod
    def of_doors(cls, doors: int = 8, points: int = 300) -> Corridor:
        rng = np.random.default_rng(0)
        sides = rng.choice([-1.0, 1.0], points) * rng.uniform(0.95, 1.0, points)
        door = np.column_stack([rng.uniform(0, cls.PERIOD_M, points), sides, rng.uniform(0, 2.6, points)])
        descriptors = unit(rng.normal(size=(points, LOCAL_DIM)))
        words = rng.normal(size=(points, GLOBAL_DIM))
        every = [door + np.array([number * cls.PERIOD_M, 0.0, 0.0]) for number in range(doors)]
        return cls(np.vstack(every), np.vstack([descriptors] * doors), np.vstack([words] * doors))

    def _facing(self, map_from_camera: Pose) -> np.ndarray:
        return np.ones(len(self.points), bool)


def views(scene: Scene, pose: Pose, seed: int) -> list[View]:
    return [View(scene.view(pose, seed=seed)[0], CAMERA)]


def test_of_two_identical_rooms_neither_is_believed(scene: Scene) -> None:
    """Each has more keyframes than are retrieved."""
    localizer = Localizer(scene.build_double_map(walk()))
    for seed in range(6):
        result = localizer.localize(views(scene, looking(0.3, 0.4, 60.0 * seed), seed))
        assert isinstance(result, NotLocalized)
        assert result.reason is Reason.AMBIGUOUS
        found = sorted(place.map_from_camera.translation[0] for place in result.places)
        assert found == pytest.approx([0.3, 100.3], abs=0.1)


def test_the_double_of_a_place_is_looked_at_though_the_image_leads_elsewhere(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From beside what was mapped, an image resembles other places more than the double of its own."""
    monkeypatch.setattr(MapSearch, "_alike", lambda *_: ())
    localizer = Localizer(scene.build_double_map(walk()), LocalizerConfig(max_clusters=1))
    for seed in range(3):
        result = localizer.localize(views(scene, looking(0.3, 0.4, 60.0 * seed), seed))
        assert isinstance(result, NotLocalized)
        assert result.reason is Reason.AMBIGUOUS


@pytest.mark.parametrize("room", [0, 1])
def test_odometry_leads_to_what_tells_two_rooms_apart(scene: Scene, room: int) -> None:
    """One end of the second room is furnished otherwise; the robot turns towards it."""
    other = refurnished(scene, 0.3)
    tracker = Tracker(Localizer(scene.build_double_map(walk(), other)))
    here, offset = ((scene, Pose()), (other, APART))[room]
    answers = []
    for step in range(10):
        pose = looking(0.0, 0.2, 180.0 - 20.0 * step)  # from the end that is the same to the one that is not
        result = tracker.process(views(here, pose, 100 + step), 0.5 * step, ODOM_FROM_MAP @ pose)
        if isinstance(result, Localized):
            assert pose_error(result.map_from_camera, offset @ pose)[0] < 0.1
        answers.append(isinstance(result, Localized))
    assert not answers[0]
    assert answers[-3:] == [True] * 3


def at(x: float, z: float = 0.0) -> Pose:
    return Pose(translation=np.array([x, 0.0, z]))


def outcomes(landmark_map: LandmarkMap, queries: list[tuple[Scene, Pose, Pose]]) -> list[str]:
    """ "right", "wrong" or the reason, of each (place, camera in it, map_from_place)."""
    localizer = Localizer(landmark_map)
    out = []
    for seed, (place, pose, map_from_place) in enumerate(queries):
        result = localizer.localize(views(place, pose, seed))
        if isinstance(result, Localized):
            metres, degrees = pose_error(result.map_from_camera, map_from_place @ pose)
            out.append("right" if metres < 0.5 and degrees < 10.0 else "wrong")
        else:
            out.append(result.reason.name)
    return out


@pytest.mark.parametrize("counts", [(48, 9), (9, 48)])
def test_a_room_mapped_sparsely_is_not_mistaken_for_its_double_mapped_densely(
    small: Scene, counts: tuple[int, int]
) -> None:
    """In either order; of the sparse room too few keyframes look like an image for retrieval to tell of it."""
    rooms = places_map([(small, at(100.0 * number), walk(count)) for number, count in enumerate(counts)])
    known = with_look_alikes(rooms)
    queries = [(small, looking(0.3, 0.4, 45.0 * step), at(0.0)) for step in range(8)]
    assert outcomes(known, queries) == ["AMBIGUOUS"] * 8
    assert len(set(known.alike_keyframes.tolist())) > 0.8 * rooms.keyframes


def test_of_four_floors_of_one_plan_none_is_believed_unless_something_tells(small: Scene) -> None:
    """A tenth of each floor is its own; an image of it may be answered, and then rightly."""
    floors = [refurnished(small, 0.1, seed=10 + number) for number in range(4)]
    building = with_look_alikes(
        places_map([(floor, at(0.0, 3.0 * number), walk(16)) for number, floor in enumerate(floors)])
    )
    for number, floor in enumerate(floors):
        queries = [(floor, looking(-0.3, 0.2, 60.0 * step), at(0.0, 3.0 * number)) for step in range(6)]
        found = outcomes(building, queries)
        assert "wrong" not in found
        assert found.count("AMBIGUOUS") >= 4


@pytest.mark.parametrize("headings", [(0.0,), (45.0, -45.0, 30.0)])
def test_in_a_corridor_of_identical_doors_no_door_is_believed(headings: tuple[float, ...]) -> None:
    corridor = Corridor.of_doors()
    poses = [looking(x, 0.0, heading) for x in np.arange(1.2, 19.0, 1.25) for heading in headings]
    known = with_look_alikes(corridor.build_map(poses))
    rng = np.random.default_rng(3)
    queries = [
        (corridor, looking(rng.uniform(2, 17), rng.uniform(-0.3, 0.3), headings[step % len(headings)]), Pose())
        for step in range(12)
    ]
    found = outcomes(known, queries)
    assert not {"right", "wrong"} & set(found)
    assert found.count("AMBIGUOUS") >= 4


@pytest.mark.parametrize("floor", [0, 2])
def test_odometry_tells_the_floor_within_two_images_of_what_is_its_own(small: Scene, floor: int) -> None:
    """The robot turns from the end that all floors share to the end that differs."""
    floors = [refurnished(small, 0.3, seed=10 + number) for number in range(4)]
    places = [(room, at(0.0, 3.0 * number), walk(16)) for number, room in enumerate(floors)]
    tracker = Tracker(Localizer(with_look_alikes(places_map(places))))
    headings = [180.0 - 15.0 * step for step in range(13)]
    told, own_seen = None, None
    own = small.points[:, 0] > np.quantile(small.points[:, 0], 0.7)
    for step, heading in enumerate(headings):
        pose = looking(0.0, 0.2, heading)
        features, points = floors[floor].view(pose, seed=step)
        if own_seen is None and own[points[points >= 0]].mean() > 0.4:
            own_seen = step
        result = tracker.process([View(features, CAMERA)], 0.5 * step, ODOM_FROM_MAP @ pose)
        if isinstance(result, Localized):
            assert pose_error(result.map_from_camera, at(0.0, 3.0 * floor) @ pose)[0] < 0.1
            told = step if told is None else told
    assert own_seen is not None
    assert told is not None
    assert 0 < told <= own_seen + 2


def test_a_place_without_a_double_has_no_look_alikes(small: Scene) -> None:
    assert len(with_look_alikes(small.build_map(walk(30))).alike_keyframes) == 0


def test_look_alikes_lead_to_the_other_place_and_back(small: Scene) -> None:
    rooms = with_look_alikes(places_map([(small, at(0.0), walk(16)), (small, at(100.0), walk(16))]))
    assert len(rooms.alike_keyframes) > 20
    for keyframe in rooms.alike_keyframes:
        there_from_here = rooms.look_alikes_of(keyframe)[0]
        wanted = at(100.0 if keyframe < 16 else -100.0)
        assert pose_error(there_from_here, wanted)[0] < 0.1


class Panels(Corridor):
    """Panels of a wall, the same every metre."""

    PERIOD_M = 1.0


def test_the_next_panel_of_a_wall_is_known_where_no_keyframe_stands_before_it() -> None:
    """From each keyframe, the panels look the same a metre on; the others stand 0.6, 0.7 and 1.3 m away."""
    wall = Panels.of_doors(doors=9, points=240)
    known = with_look_alikes(wall.build_map([looking(x, 0.0, 60.0) for x in (2.0, 2.6, 3.3)]))
    apart_m = [
        np.linalg.norm(there[:, 3] - known.keyframe_poses[keyframe][:, 3])
        for keyframe, there in zip(known.alike_keyframes, known.alike_poses, strict=True)
    ]
    assert apart_m == pytest.approx([1.0] * len(apart_m), abs=0.05)
    assert len(set(known.alike_keyframes.tolist())) >= 2
