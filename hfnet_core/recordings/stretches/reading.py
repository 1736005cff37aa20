"""Kept stretches as recordings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.stretches.folder import CAMERA_FILE, IMAGES, POSES_FILE

__all__ = ["recordings_of"]

_RATE_HZ = 10.0  # of images whose names tell no time


@contextmanager
def recordings_of(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """The paths, with folders of images, or of such folders, as bags that live as long as the context.

    Raises DatasetError for a folder whose images, camera or poses cannot be read.
    """
    with TemporaryDirectory(prefix="hfnet-stretches-") as temporary:
        out: list[Path] = []
        for path in paths:
            drives = [path] if _is_drive(path) else _drives_in(path)
            for drive in drives:
                out.append(Path(temporary) / f"{len(out):04d}-{drive.name}")
                _as_bag(drive, out[-1])
            if not drives:
                out.append(path)
        yield out


def _is_drive(path: Path) -> bool:
    return (path / CAMERA_FILE).is_file() and (path / IMAGES).is_dir()


def _drives_in(path: Path) -> list[Path]:
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return []
    return [item for item in sorted(path.iterdir()) if _is_drive(item) and any((item / IMAGES).iterdir())]


def _as_bag(drive: Path, output: Path) -> None:
    poses = drive / POSES_FILE
    frames = list_folder(drive, poses if poses.is_file() else None, rate_hz=_RATE_HZ)
    write_folder_bag(frames, camera_from_file(drive / CAMERA_FILE), output, storage="mcap")
