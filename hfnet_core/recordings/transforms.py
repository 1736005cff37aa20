"""Poses over time: interpolation at image stamps, trees of timed transforms. No ROS.

pytransform3d's timed manager clips times outside what it knows to the nearest end and rebuilds its graph at every
insertion; a localizer needs the first to be an error and the second to be cheap.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose

__all__ = ["NotYetKnownError", "TimedPoses", "TransformBuffer", "TransformError"]


# Of a tree that is heard live, far beyond any robot's: frames, static ones, from a root to a leaf, characters of a
# name; poses of all frames together, and of one however many there are.
_MOST_FRAMES, _MOST_STATIC, _DEEPEST, _LONGEST_NAME = 2_000, 1_000, 200, 255
_MOST_POSES, _POSES_OF_ONE = 100_000, 50
_NAMED = 20  # frames in a message


class TransformError(HFNetError):
    """A transform is impossible, not known, or not at that time."""


class NotYetKnownError(TransformError):
    """A transform is known up to an earlier time: it may yet come."""


@dataclass(frozen=True, eq=False)
class TimedPoses:
    """Poses a_from_b at strictly increasing times.

    stamps_ns: [N] int64. translations: [N, 3] metres. quats_xyzw: [N, 4] unit. gaps_ns: [G] int64, increasing: times
    that are not interpolated across. Build with `from_samples`.
    """

    stamps_ns: NDArray[np.int64]
    translations: NDArray[np.float64]
    quats_xyzw: NDArray[np.float64]
    gaps_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def from_samples(cls, samples: Iterable[tuple[int, Pose]], gaps_ns: Iterable[int] = ()) -> TimedPoses:
        """From (stamp_ns, pose) in any order; of several with the same stamp the last one counts.

        gaps_ns: when a pose was due but unknown.
        """
        by_stamp = {int(stamp): pose for stamp, pose in samples}
        stamps = sorted(by_stamp)
        return cls(
            np.array(stamps, dtype=np.int64),
            np.array([by_stamp[stamp].translation for stamp in stamps], dtype=np.float64).reshape(-1, 3),
            np.array([by_stamp[stamp].quat_xyzw() for stamp in stamps], dtype=np.float64).reshape(-1, 4),
            np.array(sorted(gaps_ns), dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def pose(self, index: int) -> Pose:
        """The sample at an index."""
        return Pose.from_quat_xyzw(self.quats_xyzw[index], self.translations[index])

    def at(self, stamp_ns: int, max_gap_s: float) -> Pose | None:
        """The pose at a time: linear in position, slerp in orientation.

        None before the first and after the last sample (never extrapolated), and between samples that are further apart
        than max_gap_s or have a gap between them.
        """
        try:
            return self.lookup(stamp_ns, max_gap_s)
        except TransformError:
            return None

    def lookup(self, stamp_ns: int, max_gap_s: float) -> Pose:
        """`at`, but raises TransformError saying why there is none."""
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after < len(self) and self.stamps_ns[after] == stamp_ns:
            return self.pose(after)
        if after in (0, len(self)):
            first_s, last_s = (self.stamps_ns[[0, -1]] / 1e9).tolist() if len(self) else (0.0, 0.0)
            raise TransformError(f"poses are from {first_s:.3f} to {last_s:.3f} s, none is at {stamp_ns / 1e9:.3f} s")
        before = after - 1
        gap_ns = int(self.stamps_ns[after] - self.stamps_ns[before])
        first_gap = int(np.searchsorted(self.gaps_ns, self.stamps_ns[before], side="right"))
        interrupted = first_gap < len(self.gaps_ns) and self.gaps_ns[first_gap] < self.stamps_ns[after]
        if gap_ns > max_gap_s * 1e9 or interrupted:
            lost = ", where a pose is missing" if interrupted else ""
            raise TransformError(f"poses have a gap of {gap_ns / 1e9:.3f} s at {stamp_ns / 1e9:.3f} s{lost}")
        share = int(stamp_ns - self.stamps_ns[before]) / gap_ns
        first = Rotation.from_quat(np.array(self.quats_xyzw[before]))
        step = (first.inv() * Rotation.from_quat(np.array(self.quats_xyzw[after]))).as_rotvec()
        rotation = (first * Rotation.from_rotvec(share * step)).as_matrix()
        return Pose(rotation, (1 - share) * self.translations[before] + share * self.translations[after])


@dataclass(eq=False)
class _Edge:
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


def _is_static(parents: Mapping[str, _Edge]) -> bool:
    return any(edge.static for edge in parents.values())


_Way = tuple[_Edge, ...]


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
        self._edges: dict[str, dict[str, _Edge]] = {}  # child -> parent -> edge
        self._lock = Lock()

    @classmethod
    def live(cls, keep_s: float = 10.0) -> TransformBuffer:
        """For a running robot. keep_s: how long transforms are kept behind the newest of the same child."""
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
                edge = parents[parent] = _Edge(parent, child, static)
            edge.insert(stamp_ns, parent_from_child)
            if not self._is_recording:
                old = bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._keep_ns)
                most = max(_MOST_POSES // len(self._edges), _POSES_OF_ONE)
                old = max(old, len(edge.stamps_ns) - most)
                del edge.stamps_ns[:old], edge.poses[:old]

    def _parents_of(self, child: str, static: bool) -> dict[str, _Edge]:
        """Of a frame that is heard of now, which makes it the last of those in `_edges`; of too many, the first that
        moves is forgotten. Static ones are told once and stay. Raises TransformError for too many of these."""
        if self._is_recording:
            return self._edges.setdefault(child, {})
        known = self._edges.get(child, {})
        if static and not _is_static(known) and sum(map(_is_static, self._edges.values())) >= _MOST_STATIC:
            raise TransformError(f"there are more than {_MOST_STATIC} static frames: somebody floods the tree")
        if self._edges.pop(child, None) is None and len(self._edges) >= _MOST_FRAMES:
            del self._edges[next(name for name, edges in self._edges.items() if not _is_static(edges))]
        self._edges[child] = known
        return known

    def _went_back(self, edge: _Edge, stamp_ns: int) -> bool:
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

    def _holds_always(self, edge: _Edge) -> bool:
        return edge.static or (self._is_recording and edge.constant and len(edge.poses) > 1)

    def _along(self, way: _Way, stamp_ns: int) -> Pose:
        pose = Pose()
        for edge in way:
            pose = (edge.poses[-1] if self._holds_always(edge) else edge.at(stamp_ns, self._max_gap_s)) @ pose
        return pose

    def _ways(self, target: str, source: str) -> tuple[_Way, _Way] | None:
        """The ways up from source and from target to the frame where they meet, None where they do not."""
        target, source = target.lstrip("/"), source.lstrip("/")
        up_source, up_target = self._up(source), self._up(target)
        pairs = {
            _below_common(one, other)
            for frame, ways in up_source.items()
            for one in ways
            for other in up_target.get(frame, ())
        }
        found = [pair for pair in pairs if _meet_once(source, target, *pair)]
        if len(found) > 1:
            said = "; ".join(sorted(_in_words(source, target, *way) for way in found)[:2])
            raise TransformError(f"transforms connect {source!r} to {target!r} in two ways: {said}")
        return found[0] if found else None

    def _up(self, frame: str) -> dict[str, list[_Way]]:
        """Ways from a frame to its ancestors, without circles; two to each are enough to know that one is not alone.

        Ancestors further away than any robot's are not looked for.
        """
        found: dict[str, list[_Way]] = {frame: [()]}
        waiting: list[_Way] = [()]
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


def _below_common(one: _Way, other: _Way) -> tuple[_Way, _Way]:
    """Two ways to one frame, without the end that they share."""
    while one and other and one[-1] is other[-1]:
        one, other = one[:-1], other[:-1]
    return one, other


def _meet_once(source: str, target: str, up_source: _Way, up_target: _Way) -> bool:
    """Whether the ways have no frame in common but their last."""
    one, other = ([start, *(edge.parent for edge in way)] for start, way in ((source, up_source), (target, up_target)))
    return not set(one[:-1]) & set(other[:-1])


def _in_words(source: str, target: str, up_source: _Way, up_target: _Way) -> str:
    names = [source, *(edge.parent for edge in up_source)]
    down = [target, *(edge.parent for edge in up_target)][::-1]
    return " -> ".join([*names, *down[1:]])
