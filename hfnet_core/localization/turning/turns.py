"""Images of cameras that roll, turned by quarters before the network, which then sees at most 45 degrees of roll.

Keypoints of an image are hardly ever those of the same image turned by 90 degrees, so no search helps what was
described on its side. The last pose tells how the next image is held. Where an image is refused all the same, it is
turned as gravity tells, or else one way after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array
from hfnet_core.images.preparation import ROTATIONS, rotation_by_up
from hfnet_core.localization.correspondences import Stopwatch, View
from hfnet_core.localization.turning.held import is_held_upright, rotation_at
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localization, Localized, NotLocalized, Reason

__all__ = ["Answers", "Looked", "Turns"]

_REFUSED = (Reason.NO_CANDIDATES, Reason.TOO_FEW_MATCHES, Reason.NO_CONSENSUS, Reason.WEAK_EVIDENCE)
_ORDER = (0, 90, 270, 180)  # beyond the mounting: cameras are held on their side more often than upside down
_ROUND = len(ROTATIONS) - 1  # looks that have tried every other turn
_LEAST = 0.5  # of the budget that each image saves, though its search took all of it: else who is lost stays so


@dataclass(frozen=True, eq=False)
class Looked:
    """An answer, and the views that it is of by the names of their cameras."""

    result: Localization
    views: Mapping[str, View]


@dataclass(frozen=True, eq=False)
class Answers:
    """Who is asked. to: a pose of views. again: the view of a camera by its name with the image of the moment turned
    clockwise by so much before it is described, None where it has no features. landmark_map: that of the last answer.
    awaits: whether the last answer is kept until the next image agrees, which other views would disturb.
    """

    to: Callable[[Sequence[View]], Localization]
    again: Callable[[str, int], View | None]
    landmark_map: Callable[[], LandmarkMap]
    awaits: Callable[[], bool] = lambda: False


class Turns:
    """By how much the images of each camera of one robot are turned. Not thread-safe, `rotation` excepted.

    What searches leave of `search_budget_ms`, at least half of it, is saved up, for three looks at most, and pays for
    another look at images that are refused, one each: who begins or has found the way so far tries all turns within
    three images, who is lost for long tries one now and then. Several cameras of a robot roll about different axes, so
    they follow poses and gravity only.
    """

    def __init__(self, config: LocalizerConfig, *, patient: bool = False) -> None:
        """patient: try all turns of an image that is refused, whatever that takes."""
        self._mode, self._budget_s, self._patient = config.turns, 1e-3 * config.search_budget_ms, patient
        self._usual: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._refused = 0  # images in a row
        self._tried: list[dict[str, int]] = []
        self._look_s = 0.0  # that the last further look took
        self._saved = float(_ROUND)  # further looks that are paid for

    def forget(self) -> None:
        """Take the next image as its mounting says."""
        self._known, self._last, self._tried, self._refused = {}, {}, [], 0

    def rotation(self, name: str, usual: int) -> int:
        """By how much the next image of a camera had better be turned. usual: by its mounting."""
        self._usual[name] = usual
        return self._known.get(name, usual)

    def find(self, views: Mapping[str, View], ask: Answers, up: Mapping[str, Array] | None = None) -> Looked:
        """What is said of views; where they are refused, of the same images turned otherwise.

        up: unit vector [3] against gravity in the frame of each camera, empty or None where nothing tells.
        """
        started_s = time.thread_time()
        looked = Looked(ask.to(list(views.values())), views)
        if self._mode == "off":
            return looked
        self._save(time.thread_time() - started_s)
        if _is_refused(looked.result) and not ask.awaits():
            looked = self._otherwise(looked, ask, up or {})
        if isinstance(looked.result, Localized):
            self._follow(looked.result, looked.views, ask.landmark_map())
        elif not _is_refused(looked.result):  # one of several places, or a pose that waits for others
            self._known = _rotations(looked.views)
        else:
            self._refused += 1
            if self._refused >= _ROUND:  # lost: by turns as it was found last and as its mounting says
                self._known = {} if self._known else dict(self._last)
        return looked

    def _save(self, spent_s: float) -> None:
        """What the search of an image leaves. Before the first further look nobody knows what one takes."""
        if self._look_s > 0.0:
            left_s = max(self._budget_s - spent_s, _LEAST * self._budget_s)
            self._saved = min(self._saved + left_s / self._look_s, float(_ROUND))

    def _otherwise(self, refused: Looked, ask: Answers, up: Mapping[str, Array]) -> Looked:
        clock, looked, tried = Stopwatch(), refused, False
        for turned in self._other_turns(refused.views, ask.landmark_map(), up):
            started_s, tried = time.thread_time(), True
            again = {name: view for name in turned if (view := ask.again(name, turned[name])) is not None}
            looked = Looked(ask.to(list(again.values())), again) if again else refused
            self._look_s = time.thread_time() - started_s
            self._saved -= 1.0
            if not _is_refused(looked.result):
                break
        else:
            looked = refused
        if not tried:
            return refused
        clock.lap("turning")
        timings_s = {**looked.result.timings_s, **clock.seconds}
        return replace(looked, result=replace(looked.result, timings_s=timings_s))

    def _other_turns(
        self, views: Mapping[str, View], landmark_map: LandmarkMap, up: Mapping[str, Array]
    ) -> Iterator[dict[str, int]]:
        """By camera how else to turn the images of this moment, as far as there is time."""
        begun = _rotations(views)
        told = _by_gravity(begun, up) if up and is_held_upright(landmark_map) else None
        others = [turned for turned in self._candidates(begun, told) if turned != begun]
        if self._patient:
            yield from others
            return
        left = [turned for turned in others if turned not in self._tried] or others
        if not left or self._saved < 1.0:
            return
        self._tried.append(left[0])
        yield left[0]
        if len(left) == 1:  # none helped
            self._tried = []

    def _candidates(self, begun: Mapping[str, int], told: dict[str, int] | None) -> list[dict[str, int]]:
        """Likeliest first. told: by gravity."""
        usual = {name: self._usual.get(name, 0) for name in begun}
        if told is not None:
            return [told, usual]
        if self._mode == "follow" or len(begun) > 1:
            return [usual]
        return [{name: (rotation + further) % 360} for name, rotation in usual.items() for further in _ORDER]

    def _follow(self, found: Localized, views: Mapping[str, View], landmark_map: LandmarkMap) -> None:
        """The next images are held about as these."""
        known = {}
        for name, view in views.items():
            rotation = rotation_at(landmark_map, found.keyframes, found.map_from_camera @ view.rig_from_camera)
            known[name] = view.features.rotation if rotation is None else rotation
        self._known, self._last, self._tried, self._refused = known, known, [], 0


def _rotations(views: Mapping[str, View]) -> dict[str, int]:
    return {name: view.features.rotation for name, view in views.items()}


def _is_refused(result: Localization) -> bool:
    """Other reasons know the place, or have nothing to do with it."""
    return isinstance(result, NotLocalized) and result.reason in _REFUSED


def _by_gravity(begun: Mapping[str, int], up: Mapping[str, Array]) -> dict[str, int] | None:
    """By how much the image of each camera is to be turned; one that looks up or down stays as it is. None where that
    is all of them."""
    told = {name: rotation_by_up(up[name]) for name in begun if name in up}
    if all(rotation is None for rotation in told.values()):
        return None
    return {name: rotation if (rotation := told.get(name)) is not None else begun[name] for name in begun}
