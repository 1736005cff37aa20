"""One transform over time, and ways over several of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.recordings.timed.poses import NotYetKnownError, TimedPoses, TransformError

__all__ = ["Edge", "Way", "below_common", "in_words", "is_static", "meet_once"]


@dataclass(eq=False)
class Edge:
    """parent_from_child over time; stamps ascend. A static one holds always and has one pose."""

    parent: str
    child: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)
    constant: bool = True  # all poses are the same so far

    def insert(self, stamp_ns: int, pose: Pose) -> None:
        row = bisect_left(self.stamps_ns, stamp_ns)
        if row < len(self.stamps_ns) and self.stamps_ns[row] == stamp_ns:
            return  # the first of two equal stamps stays, as in tf2
        self.constant = self.constant and (not self.poses or _same(self.poses[0], pose))
        self.stamps_ns.insert(row, stamp_ns)
        self.poses.insert(row, pose)

    def at(self, stamp_ns: int, max_gap_s: float) -> Pose:
        stamps = self.stamps_ns
        if not stamps[0] <= stamp_ns <= stamps[-1]:
            newer = stamp_ns > stamps[-1]
            away_s = abs(stamp_ns - stamps[-1 if newer else 0]) / 1e9
            raise (NotYetKnownError if newer else TransformError)(
                f"the transform from {self.child!r} to {self.parent!r} is not known at {stamp_ns / 1e9:.3f} s, "
                f"{away_s:.3f} s {'after' if newer else 'before'} what was received"
            )
        after = bisect_right(stamps, stamp_ns)
        rows = range(max(after - 1, 0), min(after + 1, len(stamps)))
        pair = TimedPoses.from_samples((stamps[row], self.poses[row]) for row in rows)
        found = pair.at(stamp_ns, max_gap_s)
        if found is not None:
            return found
        if _same(self.poses[rows[0]], self.poses[rows[-1]]):
            return self.poses[rows[0]]  # what did not change has not moved in between
        gap_s = (stamps[rows[-1]] - stamps[rows[0]]) / 1e9
        raise TransformError(
            f"the transform from {self.child!r} to {self.parent!r} has a gap of {gap_s:.3f} s at {stamp_ns / 1e9:.3f} s"
        )


def _same(one: Pose, other: Pose) -> bool:
    return bool(
        np.abs(one.translation - other.translation).max() < 1e-9 and np.abs(one.rotation - other.rotation).max() < 1e-9
    )


def is_static(parents: Mapping[str, Edge]) -> bool:
    return any(edge.static for edge in parents.values())


Way = tuple[Edge, ...]


def below_common(one: Way, other: Way) -> tuple[Way, Way]:
    """Two ways to one frame, without the end that they share."""
    while one and other and one[-1] is other[-1]:
        one, other = one[:-1], other[:-1]
    return one, other


def meet_once(source: str, target: str, up_source: Way, up_target: Way) -> bool:
    """Whether the ways have no frame in common but their last."""
    one, other = ([start, *(edge.parent for edge in way)] for start, way in ((source, up_source), (target, up_target)))
    return not set(one[:-1]) & set(other[:-1])


def in_words(source: str, target: str, up_source: Way, up_target: Way) -> str:
    names = [source, *(edge.parent for edge in up_source)]
    down = [target, *(edge.parent for edge in up_target)][::-1]
    return " -> ".join([*names, *down[1:]])
