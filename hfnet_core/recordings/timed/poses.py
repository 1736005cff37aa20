"""Poses over time, interpolated at image stamps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import HFNetError
from hfnet_core.geometry import Pose

__all__ = ["NotYetKnownError", "TimedPoses", "TransformError"]


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
