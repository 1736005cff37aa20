"""Poses over time: interpolation at image stamps, trees of timed transforms. No ROS.

pytransform3d's timed manager clips times outside what it knows to the nearest end and rebuilds its graph at every
insertion; a localizer needs the first to be an error and the second to be cheap.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from threading import Lock

from hfnet_core.geometry import Pose
from hfnet_core.recordings.timed.edges import Edge, Way, below_common, in_words, is_static, meet_once
from hfnet_core.recordings.timed.poses import NotYetKnownError, TimedPoses, TransformError

__all__ = ["NotYetKnownError", "TimedPoses", "TransformBuffer", "TransformError"]


# Of a tree that is heard live, far beyond any robot's: frames, static ones, from a root to a leaf, characters of a
# name; poses of all frames together, half a kilobyte each, and of one however many others there are.
_MOST_FRAMES, _MOST_STATIC, _DEEPEST, _LONGEST_NAME = 2_000, 1_000, 200, 255
_MOST_POSES, _POSES_OF_ONE = 20_000, 20
_NAMED = 20  # frames in a message


class TransformBuffer:
    """Transforms by frame name and time, interpolated and never extrapolated. May be used from several threads.

    What a robot sends and what a recording holds differ in how much is kept and in what a second parent means:

    `live()`: what is old is forgotten, and of very many frames those not heard of for longest; of a child that gets
    another parent, the newer one counts, as for tf2 at the present moment; a transform of another kind (static or
    not), or from far back in time, starts the child anew.

    `recorded()`: everything is kept, every parent too. Frames that are connected in one way are connected, whatever
    else hangs on them; two ways contradict each other, so there is none. A transform that never changes in the whole
    recording holds at all times. Nothing is interpolated over gaps.
    """

    def __init__(self, *, keep_s: float = math.inf, max_gap_s: float = math.inf) -> None:
        """For `live` and `recorded`: keep_s is infinite for a recording."""
        self._is_recording = math.isinf(keep_s)
        self._keep_ns = 0 if self._is_recording else int(keep_s * 1e9)
        self._max_gap_s = max_gap_s
        self._edges: dict[str, dict[str, Edge]] = {}  # child -> parent -> edge
        self._lock = Lock()

    @classmethod
    def live(cls, keep_s: float = 10.0) -> TransformBuffer:
        """For a running robot. keep_s: how long transforms are kept behind the newest of the same child; of hundreds
        of frames, less."""
        return cls(keep_s=keep_s)

    @classmethod
    def recorded(cls, max_gap_s: float) -> TransformBuffer:
        """For a whole recording. max_gap_s: transforms further apart are not interpolated between."""
        return cls(max_gap_s=max_gap_s)

    def add(self, parent: str, child: str, parent_from_child: Pose, stamp_ns: int, static: bool = False) -> None:
        """Learn a transform; static ones hold for all times. Raises TransformError for impossible names or numbers."""
        parent, child = parent.lstrip("/"), child.lstrip("/")  # ROS 1 allowed a leading slash
        if not parent or not child or parent == child:
            raise TransformError(f"transform from {child!r} to {parent!r} is not between two frames")
        if not parent_from_child.is_finite():
            raise TransformError(f"transform from {child!r} to {parent!r} is not finite")
        if not self._is_recording and max(len(parent), len(child)) > _LONGEST_NAME:
            raise TransformError(f"the name of a frame has more than {_LONGEST_NAME} characters: {child[:_NAMED]!r}...")
        with self._lock:
            parents = self._parents_of(child, static)
            edge = parents.get(parent)
            if self._is_recording and edge is not None and edge.static and not static:
                return
            if edge is None or static or edge.static or self._went_back(edge, stamp_ns):
                if not self._is_recording:
                    parents.clear()
                edge = parents[parent] = Edge(parent, child, static)
            edge.insert(stamp_ns, parent_from_child)
            if not self._is_recording:
                old = bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._keep_ns)
                most = max(_MOST_POSES // len(self._edges), _POSES_OF_ONE)
                old = max(old, len(edge.stamps_ns) - most)
                del edge.stamps_ns[:old], edge.poses[:old]

    def _parents_of(self, child: str, static: bool) -> dict[str, Edge]:
        """Of a frame that is heard of now, which makes it the last of those in `_edges`. Of too many, the first that
        moves is forgotten; static ones are told once and stay. Raises TransformError for too many of these."""
        if self._is_recording:
            return self._edges.setdefault(child, {})
        known = self._edges.get(child, {})
        if static and not is_static(known) and sum(map(is_static, self._edges.values())) >= _MOST_STATIC:
            raise TransformError(f"there are more than {_MOST_STATIC} static frames: somebody floods the tree")
        if self._edges.pop(child, None) is None and len(self._edges) >= _MOST_FRAMES:
            del self._edges[next(name for name, edges in self._edges.items() if not is_static(edges))]
        self._edges[child] = known
        return known

    def _went_back(self, edge: Edge, stamp_ns: int) -> bool:
        """Whether time went back so far that nothing known goes on from there."""
        return not self._is_recording and stamp_ns + self._keep_ns < edge.stamps_ns[-1]

    def clear(self) -> None:
        """Forget what depends on time; static transforms stay."""
        with self._lock:
            for parents in self._edges.values():
                for parent in [name for name, edge in parents.items() if not edge.static]:
                    del parents[parent]

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames, sorted."""
        with self._lock:
            parents = {parent for edges in self._edges.values() for parent in edges}
            return tuple(sorted(parents.union(child for child, edges in self._edges.items() if edges)))

    def parent_of(self, frame: str) -> str | None:
        """The frame's parent (the first of several), None for a root or an unknown frame."""
        return next(iter(self._edges.get(frame.lstrip("/"), ())), None)

    def connects(self, target: str, source: str) -> bool:
        """Whether the frames are connected at some time. Raises TransformError where they are so in two ways."""
        with self._lock:
            return self._ways(target, source) is not None

    def is_static(self, target: str, source: str) -> bool:
        """Whether the frames are connected by transforms that never change. Raises as `connects` does."""
        with self._lock:
            ways = self._ways(target, source)
            return ways is not None and all(self._holds_always(edge) for way in ways for edge in way)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose:
        """target_from_source at a time. Raises TransformError when the frames are not connected at that time."""
        with self._lock:
            ways = self._ways(target, source)
            if ways is None:
                children = sorted(child for child, edges in self._edges.items() if edges)
                known = ", ".join([*children[:_NAMED], *(["..."] if len(children) > _NAMED else [])]) or "none"
                raise TransformError(f"no transform connects {source!r} to {target!r} (known children: {known})")
            common_from_source, common_from_target = (self._along(way, stamp_ns) for way in ways)
        return common_from_target.inverse() @ common_from_source

    def at(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """target_from_source at a time, None where `lookup` has none."""
        try:
            return self.lookup(target, source, stamp_ns)
        except TransformError:
            return None

    def _holds_always(self, edge: Edge) -> bool:
        return edge.static or (self._is_recording and edge.constant and len(edge.poses) > 1)

    def _along(self, way: Way, stamp_ns: int) -> Pose:
        pose = Pose()
        for edge in way:
            pose = (edge.poses[-1] if self._holds_always(edge) else edge.at(stamp_ns, self._max_gap_s)) @ pose
        return pose

    def _ways(self, target: str, source: str) -> tuple[Way, Way] | None:
        """The ways up from source and from target to the frame where they meet, None where they do not."""
        target, source = target.lstrip("/"), source.lstrip("/")
        up_source, up_target = self._up(source), self._up(target)
        pairs = {
            below_common(one, other)
            for frame, ways in up_source.items()
            for one in ways
            for other in up_target.get(frame, ())
        }
        found = [pair for pair in pairs if meet_once(source, target, *pair)]
        if len(found) > 1:
            said = "; ".join(sorted(in_words(source, target, *way) for way in found)[:2])
            raise TransformError(f"transforms connect {source!r} to {target!r} in two ways: {said}")
        return found[0] if found else None

    def _up(self, frame: str) -> dict[str, list[Way]]:
        """Ways from a frame to its ancestors, without circles; two to each are enough to know that one is not alone.

        Ancestors further away than any robot's are not looked for.
        """
        found: dict[str, list[Way]] = {frame: [()]}
        waiting: list[Way] = [()]
        while waiting:
            way = waiting.pop(0)
            if len(way) >= _DEEPEST:
                break
            passed = {frame, *(edge.parent for edge in way)}
            for parent, edge in self._edges.get(way[-1].parent if way else frame, {}).items():
                known = found.setdefault(parent, [])
                if parent not in passed and len(known) < 2:
                    known.append((*way, edge))
                    waiting.append((*way, edge))
        return found
