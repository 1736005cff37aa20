"""What a build has computed so far, on disk, so that a build that was killed resumes where it was; and who computes."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.features.exchange.checking import check_whole
from hfnet_core.mapping.keyframes.workers import HERE, Workers
from hfnet_core.maps.tensor_file import UNFINISHED, read_tensors, write_tensors
from hfnet_core.types import Features, Scaled

__all__ = ["Workspace", "key_of", "locked_folder", "open_workspace"]

Arrays = Mapping[str, NDArray[Any]]


def key_of(*parts: object) -> str:
    """A name for the result of a computation, from everything it depends on; arrays count with type and shape."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"array {part.dtype.str} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(f"{type(part).__name__} {part!r} ".encode())
    return digest.hexdigest()


class Workspace:
    """Results by name in a folder; without a folder it remembers nothing. workers: who computes new ones.

    Entries are written complete or not at all and carry checksums: a damaged one is as good as none.
    """

    def __init__(self, folder: Path | None = None, workers: Workers = HERE) -> None:
        self._folder = folder
        self.workers = workers

    def load(self, name: str) -> Arrays | None:
        """A stored result, or None."""
        if self._folder is None or not (self._folder / name).is_file():
            return None
        try:
            return read_tensors(self._folder / name, verify=True, accept=lambda metadata: None).arrays
        except MapError:  # computing it again is the remedy
            return None

    def store(self, name: str, arrays: Arrays) -> None:
        if self._folder is not None:
            write_tensors(self._folder / name, arrays, {})

    def load_features(self, key: str) -> Features | None:
        """None also for what are no features: who may write there may have changed them."""
        found = self.load(f"features-{key}")
        try:
            return None if found is None else _features_of(found, key)
        except (DatasetError, *_UNFIT):
            return None

    def store_features(self, key: str, features: Features) -> None:
        scaled = features.scaled or Scaled((), np.zeros((0, 0, 0), np.float16))
        self.store(
            f"features-{key}",
            {
                "keypoints": features.keypoints_px,
                "scores": features.scores,
                "descriptors": features.descriptors,
                "global": features.global_descriptor,
                "size": np.array([features.width, features.height], dtype=np.int64),
                "factors": np.array(scaled.factors, dtype=np.float64),
                "scaled": scaled.descriptors,
            },
        )

    def load_matches(self, key: str) -> dict[str, NDArray[np.int32]]:
        """What is known of a keyframe's matches, by the other keyframe's key: [N, 2] numbers of keypoints, how many
        there are is for the caller to compare."""
        found = self.load(f"matches-{key}")
        try:
            return {} if found is None else _matches_of(found)
        except _UNFIT:
            return {}

    def store_matches(self, key: str, matches: Mapping[str, NDArray[np.int32]]) -> None:
        """matches: by the other keyframe's key, all that shall be remembered."""
        others = np.array([list(bytes.fromhex(name)) for name in matches], dtype=np.uint8)
        ends = np.cumsum([len(item) for item in matches.values()]).astype(np.int64)
        self.store(f"matches-{key}", {"others": others, "pairs": np.concatenate([*matches.values()]), "ends": ends})


_UNFIT = (KeyError, ValueError, TypeError, IndexError, OverflowError)


def _features_of(found: Arrays, key: str) -> Features:
    """Raises DatasetError or one of _UNFIT for what are none."""
    width, height = (int(value) for value in found["size"])
    factors = tuple(float(value) for value in found["factors"])
    scaled = Scaled(factors, found["scaled"]) if factors else None
    arrays = (found["keypoints"], found["scores"], found["descriptors"], found["global"])
    features = Features(*arrays, width, height, scaled=scaled)
    check_whole(features, key)
    return features


def _matches_of(found: Arrays) -> dict[str, NDArray[np.int32]]:
    """Raises one of _UNFIT for what are none."""
    others, pairs, ends = found["others"], found["pairs"], found["ends"]
    lists = others.ndim == 2 and others.dtype == np.uint8 and ends.shape == (len(others),) and ends.dtype == np.int64
    if not lists or pairs.shape != (len(pairs), 2) or pairs.dtype != np.int32 or (pairs < 0).any():
        raise ValueError("are no matches")
    if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != len(pairs):
        raise ValueError("matches are not divided among the keyframes")
    return dict(zip((bytes(row).hex() for row in others), np.split(pairs, ends[:-1]), strict=True))


@contextmanager
def open_workspace(output: Path, workers: Workers = HERE) -> Iterator[Workspace]:
    """The workspace of the map that becomes `output`: a hidden folder beside it.

    It outlives only a build that was killed; success, an error or ctrl-C remove it, and what a killed build left half
    written beside it. Raises ConfigError while another
    build works for the same output.
    """
    folder = output.parent / f".{output.name}.work"
    with locked_folder(folder, f"{output}: another build is writing this map; wait for it or choose another name"):
        for unfinished in output.parent.glob(f".{glob.escape(output.name)}.*{UNFINISHED}"):
            unfinished.unlink(missing_ok=True)
        try:
            yield Workspace(folder, workers)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked_folder(folder: Path, refusal: str) -> Iterator[None]:
    """The folder, made where it is missing, for one process at a time. refusal: what another one is told.

    Its name is known beforehand: what somebody else has put there, a link above all, is not used. Raises ConfigError.
    """
    try:
        folder.mkdir(exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(f"{folder}: is a link or belongs to somebody else; remove it or choose another output")
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be created ({error.strerror})") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(handle)
            current = (folder / "lock").stat()
        except (BlockingIOError, FileNotFoundError) as error:  # held by another, or gone with one that has just ended
            raise ConfigError(refusal) from error
        except OSError as error:  # some network drives
            raise ConfigError(f"{folder}: cannot be locked ({error.strerror}); choose a local disk") from error
        if (held.st_dev, held.st_ino) != (current.st_dev, current.st_ino):
            raise ConfigError(refusal)
        yield
    finally:
        os.close(handle)
