"""Poses as text: TUM files, and poses on command lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text, written_whole
from hfnet_core.geometry import Pose

__all__ = ["TumRow", "parse_pose", "read_tum", "stamp_ns", "write_tum"]


_LATEST_NS = 2**63 - 1
_MAX_DIGITS = 64  # of a stamp
_FARTHEST_M = 1e9
_LARGEST_QUAT, _SMALLEST_QUAT = 1e6, 1e-6  # of a quaternion, which is made one of length 1


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
    rows = []
    for number, line in enumerate(read_text(path, "poses as a TUM text file").splitlines(), start=1):
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
    """Seconds in decimal notation to nanoseconds without the loss of a float.

    Raises ValueError for what is no number or no time that a message could bear (signed 64 bits of nanoseconds).
    """
    found = _exact_ns(text)
    if not -_LATEST_NS <= found <= _LATEST_NS:
        raise ValueError(f"stamp {text[:40]} is no time")
    return found


def _exact_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    digits = whole.removeprefix("-")
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"stamp {text[:40]}... is no time")
    if text.isascii() and digits.isdigit() and (fraction.isdigit() or not fraction):
        sign = -1 if whole.startswith("-") else 1
        return int(whole) * 10**9 + sign * int((fraction + "0" * 9)[:9])
    seconds = float(text)
    if not abs(seconds) * 1e9 <= _LATEST_NS:  # False for NaN
        raise ValueError(f"stamp {text} is no time")
    return round(seconds * 1e9)


def _pose(values: Sequence[str]) -> Pose:
    numbers = np.array([float(value) for value in values])
    if not (np.abs(numbers[:3]) <= _FARTHEST_M).all() or not (np.abs(numbers[3:]) <= _LARGEST_QUAT).all():
        raise ValueError(f"pose {' '.join(values)} is not finite or too large")
    if np.linalg.norm(numbers[3:]) < _SMALLEST_QUAT:
        raise ValueError(f"pose {' '.join(values)} has a zero quaternion")
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


def write_tum(path: Path, poses: Iterable[tuple[int, Pose]]) -> None:
    """Write `stamp_s tx ty tz qx qy qz qw` lines. Raises DatasetError when the file cannot be written."""
    lines = []
    for stamp_ns, pose in poses:
        numbers = " ".join(f"{value:.9f}" for value in (*pose.translation, *pose.quat_xyzw()))
        lines.append(f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} {numbers}\n")
    written_whole(path, "".join(lines))
