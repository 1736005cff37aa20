"""Poses as text: TUM files, and poses on command lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.files import written_whole
from hfnet_core.geometry import Pose

__all__ = ["TumRow", "parse_pose", "read_tum", "stamp_ns", "write_tum"]


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


def write_tum(path: Path, poses: Iterable[tuple[int, Pose]]) -> None:
    """Write `stamp_s tx ty tz qx qy qz qw` lines. Raises DatasetError when the file cannot be written."""
    lines = []
    for stamp_ns, pose in poses:
        numbers = " ".join(f"{value:.9f}" for value in (*pose.translation, *pose.quat_xyzw()))
        lines.append(f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d} {numbers}\n")
    written_whole(path, "".join(lines))
