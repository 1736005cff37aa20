"""A folder of images with a camera and poses, as a list of frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.tum import TumRow, read_tum

__all__ = ["FolderFrame", "images_of", "list_folder"]

_SUFFIXES = (".jpg", ".jpeg", ".png")
_DEPTH = "depth"


@dataclass(frozen=True, eq=False)
class FolderFrame:
    """One image file with its stamp and, where known, map_from_camera. depth: file of the depth registered to it."""

    path: Path
    stamp_ns: int
    map_from_camera: Pose | None
    depth: Path | None = None


def list_folder(
    folder: Path,
    poses: Path | None,
    *,
    rate_hz: float,
    first: int | None = None,
    last: int | None = None,
    every: int = 1,
) -> list[FolderFrame]:
    """The images of a folder (or of its `images` subfolder) in order of their names.

    poses: a TUM file; a ninth column names the image, otherwise a file name that is a stamp finds its pose, otherwise
    as many poses as images are taken in order. Images without a pose are left out. Stamps come from the poses, or
    else from rate_hz (never 0, which ROS takes for "no time"). first, last: inclusive limits on the frame number (the
    last number in the file name; without one, the position in the folder). every: keep each n-th of what remains.
    Depth images, 16-bit PNG in millimetres of the same name, are looked for in the `depth` folder beside the images.
    Raises DatasetError when nothing remains or poses do not fit.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of images")
    found = images_of(folder)
    if not found:
        raise DatasetError(f"{folder}: contains no images ({', '.join(_SUFFIXES)})")
    if poses is None:
        frames = [FolderFrame(path, round((index + 1) * 1e9 / rate_hz), None) for index, path in enumerate(found)]
    else:
        frames = _with_poses(found, read_tum(poses), poses)
    numbered = {path: _number(path, index) for index, path in enumerate(found)}
    low, high = (first if first is not None else -1), (last if last is not None else float("inf"))
    frames = [frame for frame in frames if low <= numbered[frame.path] <= high][::every]
    if not frames:
        raise DatasetError(f"{folder}: no image has a frame number from {first} to {last}")
    depths = {path.stem: path for path in (folder / _DEPTH).glob("*.png")}
    return [replace(frame, depth=depths.get(frame.path.stem)) for frame in frames]


def images_of(folder: Path) -> list[Path]:
    """The images of a folder or, where it has none, of its `images` subfolder, by name; none of what is no folder."""
    return _images_in(folder) or _images_in(folder / "images")


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())


def _number(path: Path, index: int) -> int:
    digits = re.findall(r"\d+", path.stem)
    return int(digits[-1]) if digits else index


def _with_poses(found: Sequence[Path], rows: Sequence[TumRow], poses: Path) -> list[FolderFrame]:
    by_name = {Path(row.name).stem: row for row in rows if row.name}
    if by_name:
        matched = [(path, by_name[path.stem]) for path in found if path.stem in by_name]
    else:
        by_stamp = {row.stamp_ns: row for row in rows}
        matched = [(path, by_stamp[stamp]) for path in found if (stamp := _stem_stamp(path)) in by_stamp]
        if not matched and len(rows) == len(found):
            matched = list(zip(found, rows, strict=True))
    if not matched:
        raise DatasetError(
            f"{poses}: its {len(rows)} poses fit none of {len(found)} images; name the images in a ninth column"
        )
    return [FolderFrame(path, row.stamp_ns, row.pose) for path, row in matched]


def _stem_stamp(path: Path) -> int | None:
    whole, dot, fraction = path.stem.partition(".")
    if not (whole.isdigit() and (fraction.isdigit() or not dot)):
        return None
    return int(whole) * 10**9 + int((fraction + "0" * 9)[:9])
