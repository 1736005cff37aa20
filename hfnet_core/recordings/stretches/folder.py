"""A bounded folder of images with camera, odometry and depth, as `hfnet bag from-images` reads them."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.types import Camera

__all__ = ["CAMERA_FILE", "IMAGES", "POSES_FILE", "KeptImage", "StretchFolder"]

IMAGES, CAMERA_FILE, POSES_FILE = "images", "camera.json", "poses_tum.txt"
_QUALITY = 95
_BLOCK = 4096
_EMPTY_BYTES = 4 * _BLOCK  # of a drive: two folders, the camera, the poses
_MOST_ROWS = 1 / 16  # of all, for the poses of one drive: these go with it only, not with its images
_OURS = re.compile(r"-?[0-9]{18,19}(?:[-+]|$)")


def _on_disk(size: int) -> int:
    """Bytes that a file of this size takes: many small ones fill a disk, too."""
    return -(-size // _BLOCK) * _BLOCK


@dataclass(frozen=True, eq=False)
class KeptImage:
    """pixels: [H, W] gray or [H, W, 3] RGB, uint8 or uint16. odom_from_camera: None without odometry. source: the
    camera's name, "" for the only one."""

    stamp_ns: int
    pixels: NDArray[Any]
    camera: Camera
    odom_from_camera: Pose | None = None
    source: str = ""

    @property
    def stem(self) -> str:
        """Its stamp in seconds: what finds its pose."""
        return f"{self.stamp_ns // 10**9}.{self.stamp_ns % 10**9:09d}"


def _append(path: Path, row: str) -> None:
    """The whole row or nothing of it: half of one would make every reader refuse the file. Raises OSError."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(row)
    except OSError:
        if path.exists():
            os.truncate(path, size)
        raise


class StretchFolder:
    """One drive after the other, each a folder named by the stamp of its first image; the oldest go when the whole
    takes more of the disk than `most_bytes`. What others put beside them stays.

    A camera, and images with odometry and without, have folders of their own. Nothing is written through links that
    somebody has put there. Raises DatasetError where nothing can be written.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self._most_bytes = path, most_bytes
        self._drives: dict[tuple[str, bool, Camera], Path] = {}
        self._bytes: dict[Path, int] | None = None
        self._rows_bytes: dict[Path, int] = {}

    def keep(self, image: KeptImage) -> Path:
        """Write an image, complete or not at all, and remove what is oldest beyond the limit."""
        try:
            return self._keep(image)
        except OSError as error:
            raise DatasetError(
                f"{self.path}: cannot be written ({error.strerror}); make room or choose another"
            ) from error

    def _keep(self, image: KeptImage) -> Path:
        drive = self._drive(image)
        sizes = self._sizes()
        suffix = ".png" if image.pixels.dtype == np.uint16 else ".jpg"
        pixels = image.pixels if image.pixels.ndim == 2 else np.ascontiguousarray(image.pixels[:, :, ::-1])
        encoded = cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY] if suffix == ".jpg" else [])[1]
        path = drive / IMAGES / f"{image.stem}{suffix}"
        unfinished = path.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        with unfinished.open("xb") as file:  # which follows no link
            file.write(encoded.tobytes())
        written = _on_disk(len(encoded))
        if image.odom_from_camera is not None:
            x, y, z = image.odom_from_camera.translation
            values = (x, y, z, *image.odom_from_camera.quat_xyzw())
            row = f"{image.stem} " + " ".join(f"{value:.9f}" for value in values) + "\n"
            _append(drive / POSES_FILE, row)
            written += len(row)
            self._rows_bytes[drive] = self._rows_bytes.get(drive, 0) + len(row)
        unfinished.replace(path)
        sizes[drive] = sizes.get(drive, _EMPTY_BYTES) + written
        self._make_room(drive)
        return path

    def _drive(self, image: KeptImage) -> Path:
        key = (image.source, image.odom_from_camera is not None, image.camera)
        known = self._drives.get(key)
        if known is None or not known.is_dir() or self._rows_bytes.get(known, 0) > self._most_bytes * _MOST_ROWS:
            name = "-".join(
                filter(None, (f"{image.stamp_ns:019d}", image.source, "" if key[1] else "without-odometry"))
            )
            drive = self._new(name)
            (drive / IMAGES).mkdir()
            (drive / CAMERA_FILE).write_text(json.dumps(asdict(image.camera)), encoding="utf-8")
            self._drives = {other: path for other, path in self._drives.items() if path.is_dir()} | {key: drive}
            self._rows_bytes = {path: self._rows_bytes.get(path, 0) for path in self._drives.values()}
        return self._drives[key]

    def _new(self, name: str) -> Path:
        """A folder that was not there: in one that was, anybody may have put links."""
        self.path.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            drive = self.path / (name if number == 1 else f"{name}+{number}")
            try:
                drive.mkdir()
            except FileExistsError:
                number += 1
            else:
                return drive

    def _sizes(self) -> dict[Path, int]:
        """Bytes on the disk of each drive of ours, oldest first."""
        if self._bytes is None:
            self._bytes = {}
            for drive in sorted(self.path.iterdir()):
                ours = _OURS.match(drive.name) and not drive.is_symlink() and (drive / CAMERA_FILE).is_file()
                if ours and (drive / IMAGES).is_dir():
                    files = [*(drive / IMAGES).iterdir(), *drive.glob(POSES_FILE)]
                    self._bytes[drive] = _EMPTY_BYTES + sum(_on_disk(item.stat().st_size) for item in files)
        return self._bytes

    def _make_room(self, current: Path) -> None:
        sizes = self._sizes()
        while sum(sizes.values()) > self._most_bytes:
            oldest = min(sizes)
            if oldest != current:
                shutil.rmtree(oldest, ignore_errors=True)
                del sizes[oldest]
                continue
            first = min((oldest / IMAGES).iterdir(), default=None)
            if first is None:
                return
            sizes[oldest] -= _on_disk(first.stat().st_size)
            first.unlink()

    def drives(self) -> Sequence[Path]:
        """What is kept, oldest first."""
        return sorted(self._sizes()) if self.path.is_dir() else []
