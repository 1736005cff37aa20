"""Poses over time: interpolation at image stamps, chains of transforms, TUM trajectory files. No ROS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose

__all__ = ["TimedPoses", "TransformBuffer", "TumRow", "parse_pose", "read_tum", "stamp_ns"]


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


@dataclass(frozen=True, eq=False)
class TumRow:
    """One line of a TUM file: stamp in seconds as written, pose, and an optional image name."""

    stamp_ns: int
    pose: Pose
    name: str


def read_tum(path: Path) -> list[TumRow]:
    """Rows of `stamp_s tx ty tz qx qy qz qw [image name]`, in file order; # starts a comment.

    Raises DatasetError naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: poses cannot be read ({type(error).__name__}); pass a TUM text file") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        fields = line.split("#", 1)[0].replace(",", " ").split()
        if not fields:
            continue
        if len(fields) not in (8, 9):
            raise DatasetError(f"{path}, line {number}: has {len(fields)} columns, not 8: stamp tx ty tz qx qy qz qw")
        try:
            rows.append(TumRow(stamp_ns(fields[0]), _pose(fields[1:8]), fields[8] if len(fields) == 9 else ""))
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: {error}") from error
    if not rows:
        raise DatasetError(f"{path}: contains no poses")
    return rows


def stamp_ns(text: str) -> int:
    """Seconds in decimal notation to nanoseconds without the loss of a float."""
    whole, _, fraction = text.partition(".")
    if whole.lstrip("-").isdigit() and (fraction.isdigit() or not fraction):
        sign = -1 if whole.startswith("-") else 1
        return int(whole) * 10**9 + sign * int((fraction + "0" * 9)[:9])
    return round(float(text) * 1e9)


def _pose(values: Sequence[str]) -> Pose:
    numbers = np.array([float(value) for value in values])
    if not np.isfinite(numbers).all() or not np.any(numbers[3:]):
        raise ValueError(f"pose {' '.join(values)} is not finite or has a zero quaternion")
    return Pose.from_quat_xyzw(numbers[3:], numbers[:3])


def parse_pose(text: str) -> Pose:
    """A pose from `x y z qx qy qz qw` (metres), as command lines pass it. Raises DatasetError."""
    fields = text.replace(",", " ").split()
    if len(fields) != 7:
        raise DatasetError(f"pose {text!r} has {len(fields)} numbers; write x y z qx qy qz qw")
    try:
        return _pose(fields)
    except ValueError as error:
        raise DatasetError(f"pose {text!r} {error}; write x y z qx qy qz qw") from error
