"""Opening what holds a recording: with rosbags where it is whole, else as far as it can be read."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.containers.decompression import bound_rosbags
from hfnet_core.recordings.containers.definitions import bound_definitions
from hfnet_core.recordings.containers.mcap_scan import McapScan, profile_of
from hfnet_core.recordings.containers.rosbag1_plain import PlainRosbag1
from hfnet_core.recordings.containers.sqlite_checks import ForeignDatabaseError, check_database
from hfnet_core.recordings.containers.sqlite_rescue import is_unfinished, rescued_copy

__all__ = ["Container", "open_container", "ros1_to_cdr", "scanned"]

_DEFAULT_TYPES = get_typestore(Stores.ROS2_JAZZY)
_log = logging.getLogger(__name__)
bound_rosbags()
bound_definitions()


class Container:
    """An open reader, and the folder that repaired copies lie in. reader: AnyReader, or what resembles it."""

    def __init__(self, reader: Any, folder: TemporaryDirectory[str] | None = None) -> None:
        self.reader, self._folder = reader, folder

    def close(self) -> None:
        """Close the files, and remove repaired copies."""
        self.reader.close()
        if self._folder is not None:
            self._folder.cleanup()


def open_container(path: Path) -> Container:
    """A bag file, or a rosbag2 folder with or without its metadata.yaml.

    Raises DatasetError where nothing can be read, and whatever the readers of rosbags raise.
    """
    if path.suffix == ".bag":
        return Container(_opened_rosbag1(path))
    whole: Exception | None = None
    if path.is_file() or (path / "metadata.yaml").is_file():
        files = _files(path)
        if not any(_needs_care(file) for file in files):
            try:
                return Container(_opened([path], files))
            except ForeignDatabaseError:
                raise
            except Exception as error:  # parsers fail in every way; what follows may read more
                whole = error
    else:
        files = _files(path)
        _log.warning("%s: has no metadata.yaml; `ros2 bag reindex` writes one", path)
    if not files:
        raise whole or DatasetError("holds no .mcap and no .db3 file")
    if whole is not None and path.is_dir():
        _log.warning("%s: %s; its files are read without metadata.yaml", path, _in_a_line(whole))
    return _from_files(files, whole)


def ros1_to_cdr(raw: bytes, msgtype: str) -> bytes:
    """A message of ROS 1 as ROS 2 writes it."""
    return bytes(_DEFAULT_TYPES.ros1_to_cdr(raw, msgtype))


def scanned(path: Path) -> Container | None:
    """MCAP files read from front to back, None for anything else."""
    files = _files(path)
    if not files or any(file.suffix != ".mcap" for file in files):
        return None
    scan = McapScan(files)
    scan.open()
    return Container(scan)


def _from_files(files: list[Path], whole: Exception | None) -> Container:
    """Storage files on their own. whole: why they could not be read as a recording, if that was tried."""
    kinds = {file.suffix for file in files}
    if len(kinds) > 1:
        raise DatasetError(f"holds files of several kinds, {', '.join(sorted(kinds))}: give one file")
    if kinds == {".db3"}:
        return _from_sqlite(files, retry=whole is not None)
    if whole is None and not any(_needs_care(file) for file in files):
        try:
            return Container(_opened(files))
        except Exception as error:
            _log.warning("%s: %s; read from front to back instead", files[0].parent, _in_a_line(error))
    scan = McapScan(files)
    scan.open()
    return Container(scan)


def _from_sqlite(files: list[Path], *, retry: bool) -> Container:
    """retry: reading them as they are has failed already."""
    if not retry and not any(map(is_unfinished, files)):
        try:
            return Container(_opened(files))
        except ForeignDatabaseError:
            raise
        except Exception as error:
            _log.warning("%s: %s; read from a repaired copy", files[0].parent, _in_a_line(error))
            retry = True
    folder = TemporaryDirectory(prefix="hfnet-recording-")
    try:
        copies = [rescued_copy(file, Path(folder.name)) if is_unfinished(file) or retry else file for file in files]
        return Container(_opened(copies), folder)
    except BaseException:
        folder.cleanup()
        raise


def _opened_rosbag1(path: Path) -> Any:
    try:
        return _opened([path])
    except AnyReaderError as error:
        if "mismatch" not in str(error):
            raise
        _log.warning("%s: %s", path, _in_a_line(error))
    reader = PlainRosbag1(path)
    reader.open()
    return reader


def _opened(paths: list[Path], files: list[Path] | None = None) -> AnyReader:
    """files: that lie in `paths`, where these are folders."""
    for file in paths if files is None else files:
        if file.suffix == ".db3":
            check_database(file)
    reader = AnyReader(paths, default_typestore=_DEFAULT_TYPES)
    reader.open()
    return reader


def _needs_care(file: Path) -> bool:
    """Whether rosbags would not read everything: a journal, or MCAP that is not marked as ROS 2."""
    return is_unfinished(file) if file.suffix == ".db3" else file.suffix == ".mcap" and profile_of(file) != "ros2"


def _files(path: Path) -> list[Path]:
    """Storage files in the order of their numbers."""
    if path.is_file():
        return [path]
    found = [file for file in path.iterdir() if file.suffix in (".mcap", ".db3") and file.is_file()]
    return sorted(
        found, key=lambda file: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]
    )


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
