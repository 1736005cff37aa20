"""A pose that may be right, the correspondences that made it, and those that speak for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization import pose
from hfnet_core.localization.correspondences import Correspondences, Query, joined
from hfnet_core.types import Int32, Mode

__all__ = ["Hypothesis", "Look", "Trial", "hypothesis_of", "is_elsewhere"]

SAME_PLACE_M, SAME_PLACE_DEG = 0.5, 10.0  # poses closer than this are the same answer
AS_GOOD = 0.8  # times what one explains, from which another pose of the same place may as well be the right one
_HEARD = 0.2  # of a view's matches must agree with a pose for the view to count


@dataclass(frozen=True, eq=False)
class Look:
    """What a view has in common with a few keyframes.

    wanted: landmarks that should be seen if an expected pose is right, none without one.
    """

    view: int
    keyframes: tuple[int, ...]
    found: Correspondences
    wanted: Int32 = field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def asked(self) -> int:
        """How many should be seen."""
        return len(self.wanted)


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A solved pose. found, agreeing: correspondences and which of them [N] the pose explains; they may have been
    guided by it.

    evidence: correspondences that agree with it and were found without knowing it, of `matches` such ones. guided: how
    many keypoints it explained in the guided pass, which looks equally deep at every place, of `asked` landmarks that
    should be seen. near: it was found near an expected pose. alternative: another pose near by that explains about as
    much, where there is one.
    """

    mode: Mode
    map_from_rig: Pose
    found: Correspondences
    agreeing: NDArray[np.bool_]
    keyframes: tuple[int, ...]
    evidence: Correspondences
    matches: int
    guided: int = 0
    asked: int = 0
    near: bool = False
    alternative: Pose | None = None

    @property
    def inliers(self) -> int:
        return self.evidence.count

    @property
    def explained(self) -> int:
        """Keypoints that the pose explains."""
        return len(np.unique(self.found.keypoint_keys[self.agreeing]))

    def elsewhere(self, other: Hypothesis) -> bool:
        """Whether the two are different answers."""
        return is_elsewhere(self.map_from_rig, other.map_from_rig)

    def solved(self, solution: pose.Solution | None, found: Correspondences) -> Hypothesis:
        """The same with another solution on these correspondences; as it was where there is none."""
        if solution is None:
            return self
        return replace(self, map_from_rig=solution.map_from_rig, agreeing=solution.inliers, found=found)


def is_elsewhere(one: Pose, other: Pose) -> bool:
    """Whether two poses are different answers."""
    metres, degrees = pose_error(one, other)
    return metres > SAME_PLACE_M or degrees > SAME_PLACE_DEG


@dataclass(frozen=True, eq=False)
class Trial:
    """What came of a look: a hypothesis or none, of how many matches.

    has_double: another place is as likely a one. rough: only says where to look closer. found: the matches, None where
    an expected pose guided them.
    """

    hypothesis: Hypothesis | None
    matches: int
    has_double: bool = False
    rough: bool = False
    found: Correspondences | None = None


def hypothesis_of(
    query: Query, look: Look, looks: Sequence[Look], mode: Mode, config: LocalizerConfig
) -> Hypothesis | None:
    """The pose that a look proposes, with what the other views have seen for it; None when nothing agrees.

    A view whose matches disagree with the pose for the most part says nothing of it: one that sees nothing of the map,
    or has been knocked loose, does not count against the others.
    """
    solution = pose.solve(look.found, query, look.view, config)
    query.clock.lap("pose")
    if solution is None:
        return None
    others = _heard(query, solution.map_from_rig, [other for other in looks if other.view != look.view], config)
    found, keyframes = look.found, dict.fromkeys(look.keyframes)
    if others:
        found = joined([look.found, *(other.found for other in others)])
        keyframes.update(dict.fromkeys(keyframe for other in others for keyframe in other.keyframes))
        solution = pose.polish(found, query, solution.map_from_rig, config)
        query.clock.lap("pose")
        if solution is None:
            return None
    unguided = found.unguided
    evidence = found.where(solution.inliers & unguided)
    matches = found.where(unguided).count
    asked = sum(heard.asked for heard in (look, *others))
    return Hypothesis(
        mode,
        solution.map_from_rig,
        found,
        solution.inliers,
        tuple(keyframes),
        evidence,
        matches,
        asked=asked,
        near=asked > 0,
    )


def _heard(query: Query, map_from_rig: Pose, looks: Sequence[Look], config: LocalizerConfig) -> list[Look]:
    out = []
    for look in looks:
        unguided = look.found.where(look.found.unguided)
        agree = int(pose.agreeing(unguided, query, map_from_rig, config).sum())
        if agree >= max(_HEARD * len(unguided), 1):
            out.append(look)
    return out
