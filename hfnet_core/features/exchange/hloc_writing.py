"""Features and matches added to files as hloc stores them (`hloc_files`), which are whole whatever happens."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.extras import later
from hfnet_core.features.exchange.hloc_files import DAMAGED, MODEL_HASH, pair_name
from hfnet_core.files import whole_file
from hfnet_core.types import Features

if TYPE_CHECKING:
    import h5py
else:
    h5py = later("h5py")

__all__ = ["HlocWriter", "append_features", "append_matches"]

_KEPT_S = 60.0  # what is kept that often is lost to a kill for at most so long
_COPIES = 20.0  # a large file is kept less often: copying it takes a twentieth of the time


class _Disk(io.FileIO):
    """A file for h5py that keeps its first error for later: HDF5 that cannot write crashes when it is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "r+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def readinto(self, buffer: Any) -> int:
        """What was never written reads as zeros, as in HDF5's own files."""
        view = memoryview(buffer).cast("B")
        count = super().readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        return len(view)


class HlocWriter:
    """Adds to a file in a copy beside it, which takes its name every minute and at the end: HDF5 that is killed while
    it writes is damaged, as a whole.

    A context manager. An error inside of it keeps what was added before; one of writing does not. Raises DatasetError
    where the file cannot be written, or somebody else has changed it meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copy: ExitStack | None = None
        self._file: Any = None
        self._disk: _Disk | None = None
        self._until_s = 0.0
        self._version: tuple[int, int] | None = None

    def __enter__(self) -> HlocWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.keep()

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, str]) -> None:
        """A group with these arrays in the place of what is there. attributes: of the file."""
        try:
            file = self._opened()
            file.attrs.update(attributes)
            if name in file:
                del file[name]
            group = file.create_group(name)
            for key, values in arrays.items():
                stored = group.create_dataset(key, data=values)
                if key == "keypoints":
                    stored.attrs["uncertainty"] = 1.0  # pixels; hloc's triangulation scales its limit by it
            self._check_disk()
        except DAMAGED as error:
            raise self._given_up(error) from error

    @property
    def is_due(self) -> bool:
        """Whether what was added is worth keeping by now."""
        return self._copy is not None and time.monotonic() > self._until_s

    def keep(self) -> None:
        """Let the file be what it is with all that was added."""
        if self._copy is None:
            return
        try:
            self._close()
            self._check_disk()
            if _version(self._path) != self._version:
                raise OSError("another program has changed it meanwhile; run this again")
        except DAMAGED as error:
            raise self._given_up(error) from error
        copy, self._copy = self._copy, None
        copy.close()

    def _close(self) -> None:
        for opened in (self._file, self._disk):
            if opened is not None:
                opened.close()

    def _check_disk(self) -> None:
        """Raises the OSError that HDF5 was not told of."""
        if self._disk is not None and self._disk.error is not None:
            raise self._disk.error

    def _opened(self) -> Any:
        if self._copy is None:
            begun_s, copy = time.monotonic(), ExitStack()
            self._version = _version(self._path)
            temporary = copy.enter_context(whole_file(self._path))
            self._copy = copy
            if self._version is not None:
                shutil.copyfile(self._path, temporary)
            self._disk = _Disk(temporary)
            self._file = h5py.File(self._disk, "a" if self._version is not None else "w", libver="latest")
            now_s = time.monotonic()
            self._until_s = now_s + max(_KEPT_S, _COPIES * (now_s - begun_s))
        return self._file

    def _given_up(self, error: Exception) -> DatasetError:
        """The file stays as it was."""
        reason = getattr(error, "strerror", None) or first_line(error)
        failure = DatasetError(f"{self._path}: cannot be written as HDF5 ({reason})")
        copy, self._copy = self._copy, None
        with suppress(*DAMAGED):
            self._close()
        if copy is not None:
            copy.__exit__(DatasetError, failure, None)
        return failure


def _version(path: Path) -> tuple[int, int] | None:
    """What tells one content of a file from another, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def append_features(
    path: Path, features: Iterable[tuple[str, Features]], *, model_hash: str = "", globals_path: Path | None = None
) -> int:
    """Write features of images by name, descriptors and scores in half precision as hloc does, keypoints in single:
    half precision would round them to half a pixel from x = 512 on. An image that is there is replaced.

    globals_path: a file of its own for global descriptors, as hloc has it; else they lie beside the local ones.
    Returns how many. Raises as HlocWriter does, MissingExtraError without h5py.
    """
    count, attributes = 0, {MODEL_HASH: model_hash} if model_hash else {}
    with HlocWriter(path) as local, HlocWriter(globals_path or path) as apart:  # whose end comes first
        for name, found in features:
            size = {"image_size": np.array([found.width, found.height], np.int64)}
            arrays: dict[str, NDArray[Any]] = {
                "keypoints": found.keypoints_px.astype(np.float32),
                "scores": found.scores.astype(np.float16),
                "descriptors": np.ascontiguousarray(found.descriptors.T).astype(np.float16),
            }
            everywhere = {"global_descriptor": found.global_descriptor.astype(np.float16)}
            if len(found.global_descriptor) and globals_path is not None:
                apart.put(name, {**everywhere, **size}, attributes)
            elif len(found.global_descriptor):
                arrays |= everywhere
            local.put(name, {**arrays, **size}, attributes)
            count += 1
            if local.is_due:
                apart.keep()
                local.keep()
    return count


def append_matches(
    path: Path, matches: Iterable[tuple[tuple[str, str], int, NDArray[np.int32], NDArray[np.float32]]]
) -> int:
    """Write matches of pairs: names, how many keypoints the first has, pairs [N, 2], their scores [N]. Returns how
    many pairs. Raises as HlocWriter does, MissingExtraError without h5py."""
    count = 0
    with HlocWriter(path) as writer:
        for (first, second), keypoints, pairs, scores in matches:
            highest = int(pairs.max(initial=0))
            partners = np.full(keypoints, -1, np.int16 if highest < 2**15 else np.int32)  # hloc's own are int16
            values = np.zeros(keypoints, np.float16)
            partners[pairs[:, 0]] = pairs[:, 1]
            values[pairs[:, 0]] = scores
            writer.put(pair_name(first, second), {"matches0": partners, "matching_scores0": values}, {})
            count += 1
            if writer.is_due:
                writer.keep()
    return count
