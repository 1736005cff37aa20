"""Poses over time: interpolation at image stamps, chains of transforms, TUM trajectory files. No ROS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose

__all__ = [
    "TimedPoses",
    "TransformBuffer",
]


@dataclass(frozen=True, eq=False)
class TimedPoses:
    """Poses a_from_b at strictly increasing times.

    stamps_ns: [N] int64. translations: [N, 3] metres. quats_xyzw: [N, 4] unit. Build with `from_samples`.
    """

    stamps_ns: NDArray[np.int64]
    translations: NDArray[np.float64]
    quats_xyzw: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: Iterable[tuple[int, Pose]]) -> TimedPoses:
        """From (stamp_ns, pose) in any order; of several with the same stamp the last one counts."""
        by_stamp = {int(stamp): pose for stamp, pose in samples}
        stamps = sorted(by_stamp)
        return cls(
            np.array(stamps, dtype=np.int64),
            np.array([by_stamp[stamp].translation for stamp in stamps], dtype=np.float64).reshape(-1, 3),
            np.array([by_stamp[stamp].quat_xyzw() for stamp in stamps], dtype=np.float64).reshape(-1, 4),
        )

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def pose(self, index: int) -> Pose:
        """The sample at an index."""
        return Pose.from_quat_xyzw(self.quats_xyzw[index], self.translations[index])

    def at(self, stamp_ns: int, max_gap_s: float) -> Pose | None:
        """The pose at a time: linear in position, slerp in orientation.

        None before the first and after the last sample (never extrapolated), and between samples further apart than
        max_gap_s.
        """
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after == len(self):
            return None
        if self.stamps_ns[after] == stamp_ns:
            return self.pose(after)
        if after == 0:
            return None
        before = after - 1
        gap_ns = int(self.stamps_ns[after] - self.stamps_ns[before])
        if gap_ns > max_gap_s * 1e9:
            return None
        share = int(stamp_ns - self.stamps_ns[before]) / gap_ns
        first = Rotation.from_quat(self.quats_xyzw[before])
        step = (first.inv() * Rotation.from_quat(self.quats_xyzw[after])).as_rotvec()
        rotation = (first * Rotation.from_rotvec(share * step)).as_matrix()
        return Pose(rotation, (1 - share) * self.translations[before] + share * self.translations[after])


class TransformBuffer:
    """Transforms between named frames over time, as /tf and /tf_static carry them.

    Each child frame has one parent. Dynamic transforms are interpolated as TimedPoses does; static ones hold always.
    """

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._static: dict[str, Pose] = {}
        self._samples: dict[str, list[tuple[int, Pose]]] = {}
        self._timed: dict[str, TimedPoses] = {}

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Pose, *, static: bool) -> None:
        """Add one transform. A child that changes its parent is refused with DatasetError."""
        parent, child = parent.lstrip("/"), child.lstrip("/")  # ROS 1 allowed a leading slash
        known = self._parents.setdefault(child, parent)
        if known != parent:
            raise DatasetError(f"/tf gives frame {child!r} two parents, {known!r} and {parent!r}; name a --pose-topic")
        if static:
            self._static[child] = parent_from_child
        else:
            self._samples.setdefault(child, []).append((stamp_ns, parent_from_child))
            self._timed.pop(child, None)

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames, sorted."""
        return tuple(sorted({*self._parents, *self._parents.values()}))

    def path(self, target: str, source: str) -> tuple[list[str], list[str]] | None:
        """The chain between two frames as (children going up from source, children going up from target), or None."""
        up_source, up_target = self._ancestors(source.lstrip("/")), self._ancestors(target.lstrip("/"))
        common = next((name for name in up_source if name in up_target), None)
        if common is None:
            return None
        return up_source[: up_source.index(common)], up_target[: up_target.index(common)]

    def _ancestors(self, frame: str) -> list[str]:
        out = [frame]
        parent = self._parents.get(frame)
        while parent is not None and parent not in out:  # a loop of transforms ends here
            out.append(parent)
            parent = self._parents.get(parent)
        return out

    def is_static(self, target: str, source: str) -> bool:
        """Whether the chain exists and does not change over time."""
        chain = self.path(target, source)
        return chain is not None and all(child in self._static for child in (*chain[0], *chain[1]))

    def lookup(self, target: str, source: str, stamp_ns: int, max_gap_s: float) -> Pose | None:
        """target_from_source at a time; None where the frames are not connected or a link has no value then."""
        chain = self.path(target, source)
        if chain is None:
            return None
        halves = []
        for children in chain:
            pose = Pose()
            for child in children:
                link = self._link(child, stamp_ns, max_gap_s)
                if link is None:
                    return None
                pose = link @ pose
            halves.append(pose)
        return halves[1].inverse() @ halves[0]

    def _link(self, child: str, stamp_ns: int, max_gap_s: float) -> Pose | None:
        if child in self._static:
            return self._static[child]
        if child not in self._timed:
            self._timed[child] = TimedPoses.from_samples(self._samples[child])
        return self._timed[child].at(stamp_ns, max_gap_s)
