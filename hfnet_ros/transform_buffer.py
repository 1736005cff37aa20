"""A tree of timed transforms for processes without tf2_ros.

pytransform3d's timed manager clips times outside what it knows to the nearest end and rebuilds its graph at every
insertion; a localizer needs the first to be an error and the second to be cheap.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from threading import Lock
from typing import cast

from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.transforms import TimedPoses

__all__ = ["TransformBuffer", "TransformError"]


class TransformError(HFNetError):
    """A transform is not known, or not at that time."""


@dataclass
class _Edge:
    """parent_from_child over time; stamps ascend."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[Pose] = field(default_factory=list)

    def must_restart(self, parent: str, static: bool, kept_until_ns: int) -> bool:
        """Whether what is known does not go on with a new transform: of another kind, or time went back."""
        return static or self.static or self.parent != parent or kept_until_ns < self.stamps_ns[-1]


class TransformBuffer:
    """Transforms by frame name and time, interpolated and never extrapolated. May be used from several threads.

    keep_s: how long transforms are kept behind the newest of the same child.
    """

    def __init__(self, keep_s: float = 10.0) -> None:
        self._keep_ns = int(keep_s * 1e9)
        self._edges: dict[str, _Edge] = {}
        self._lock = Lock()

    def add(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int, static: bool = False) -> None:
        """Learn a transform; static ones hold for all times. Raises TransformError for impossible names or numbers."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            raise TransformError(f"transform from {child!r} to {parent!r} is not between two frames")
        if not parent_from_child.is_finite():
            raise TransformError(f"transform from {child!r} to {parent!r} is not finite")
        with self._lock:
            edge = self._edges.get(child)
            if edge is None or edge.must_restart(parent, static, stamp_ns + self._keep_ns):
                edge = self._edges[child] = _Edge(parent, static)
            row = bisect_left(edge.stamps_ns, stamp_ns)
            if row < len(edge.stamps_ns) and edge.stamps_ns[row] == stamp_ns:
                return  # the first of two equal stamps stays, as in tf2
            edge.stamps_ns.insert(row, stamp_ns)
            edge.poses.insert(row, parent_from_child)
            old = bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._keep_ns)
            del edge.stamps_ns[:old], edge.poses[:old]

    def clear(self) -> None:
        """Forget what depends on time; static transforms stay."""
        with self._lock:
            self._edges = {child: edge for child, edge in self._edges.items() if edge.static}

    def parent_of(self, frame: str) -> str | None:
        """The frame's parent, None for a root or an unknown frame."""
        edge = self._edges.get(frame.lstrip("/"))
        return edge.parent if edge else None

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        """target_from_source at a time. Raises TransformError when the frames are not connected at that time."""
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            up_source, up_target = self._ancestors(source), self._ancestors(target)
            common = next((frame for frame in up_source if frame in up_target), None)
            if common is None:
                known = ", ".join(sorted(self._edges)) or "none"
                raise TransformError(f"no transform connects {source!r} to {target!r} (known children: {known})")
            common_from_source = self._chain(up_source[: up_source.index(common)], stamp_ns)
            common_from_target = self._chain(up_target[: up_target.index(common)], stamp_ns)
        return common_from_target.inverse() @ common_from_source

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while (edge := self._edges.get(chain[-1])) is not None:
            if edge.parent in chain:
                raise TransformError(f"transforms form a loop through {edge.parent!r}")
            chain.append(edge.parent)
        return chain

    def _chain(self, children: list[str], stamp_ns: int) -> Pose:
        pose = Pose()
        for child in children:
            pose = self._at(child, stamp_ns) @ pose
        return pose

    def _at(self, child: str, stamp_ns: int) -> Pose:
        edge = self._edges[child]
        if edge.static:
            return edge.poses[-1]
        stamps = edge.stamps_ns
        if not stamps[0] <= stamp_ns <= stamps[-1]:
            newer = stamp_ns > stamps[-1]
            away_s = abs(stamp_ns - stamps[-1 if newer else 0]) / 1e9
            raise TransformError(
                f"the transform from {child!r} to {edge.parent!r} is not known at {stamp_ns / 1e9:.3f} s, "
                f"{away_s:.3f} s {'after' if newer else 'before'} what was received"
            )
        after = bisect_right(stamps, stamp_ns)
        if stamps[after - 1] == stamp_ns:
            return edge.poses[after - 1]
        pair = TimedPoses.from_samples((stamps[row], edge.poses[row]) for row in (after - 1, after))
        return cast("Pose", pair.at(stamp_ns, math.inf))  # never None between two samples
