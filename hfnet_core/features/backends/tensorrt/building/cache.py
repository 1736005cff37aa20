"""Built engines on disk: found by everything they depend on, built once, and never run when someone else wrote them.

An engine is code for the GPU and its host. Only regular files that this user wrote and nobody else can write, in a
folder that belongs to this user alone, are read; a checksum beside each finds damage. Everything else is refused with a
message and built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hfnet_core.errors import BackendError, DatasetError, HFNetError
from hfnet_core.files import whole_file

__all__ = ["CachedEngine", "EngineCache", "EngineKey", "default_folder", "digest"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_RECIPE = 2  # raised when the way engines are built changes
_MAX_RECORD_BYTES = 1 << 20
_FOREIGN_BITS = stat.S_IWGRP | stat.S_IWOTH


class _RefusedError(HFNetError):
    """A cached file that must not be used."""


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on. model_hash identifies the weights, graph the model file (both SHA-256).

    selection: what keypoints it chooses; "" for engines of a time when they chose none.
    """

    model_hash: str
    graph: str
    height: int
    width: int
    precision: str
    gpu: str
    compute_capability: str
    tensorrt: str
    cuda: str
    selection: str = ""
    recipe: int = _RECIPE

    @property
    def name(self) -> str:
        """File name without suffix: readable first, unambiguous last."""
        gpu = re.sub(r"[^A-Za-z0-9]+", "-", self.gpu).strip("-")
        content = json.dumps(asdict(self), sort_keys=True).encode()
        return f"{self.model_hash[:8]}_{self.width}x{self.height}_{self.precision}_{gpu}_{digest(content)[:16]}"

    def differences(self, other: EngineKey) -> str:
        """`tensorrt 8.6.1 -> 10.3.0, ...`: how `other` differs from this."""
        mine, others = asdict(self), asdict(other)
        return ", ".join(f"{name} {mine[name]} -> {others[name]}" for name in mine if mine[name] != others[name])


@dataclass(frozen=True, eq=False)
class CachedEngine:
    """A serialized engine and what is known of it. facts: build time, self-check and so on; JSON values."""

    key: EngineKey
    plan: bytes
    facts: Mapping[str, Any]


def default_folder() -> Path:
    """Where engines are kept: below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "hfnet_ros" / "engines"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class EngineCache:
    """A folder of engines. Raises BackendError when the folder cannot be made private to this user."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        _make_private(self.folder)

    def get(self, key: EngineKey) -> CachedEngine | None:
        """The engine of this key, None when there is none or, with a warning, when it must not be used."""
        try:
            return self._read(key)
        except FileNotFoundError:
            return None
        except (_RefusedError, OSError) as error:
            _log.warning("cached engine refused, it will be built again: %s", error)
            return None

    def get_or_build(self, key: EngineKey, build: Callable[[], tuple[bytes, Mapping[str, Any]]]) -> CachedEngine:
        """The engine of this key, built by whoever comes first while the others wait for it.

        Raises what `build` raises, and BackendError when the folder cannot be locked.
        """
        found = self.get(key)
        if found is not None:
            return found
        with self._lock(key):
            found = self.get(key)  # another process may have built it while we waited
            if found is not None:
                return found
            self._say_why(key)
            plan, facts = build()
            try:
                self._write(key, plan, facts)
            except BackendError as error:
                _log.warning("the engine runs, but the next start must build it again: %s", error)
        return CachedEngine(key, plan, facts)

    def remove(self, key: EngineKey) -> None:
        """Forget an engine that does not run after all."""
        for suffix in (".json", ".engine"):
            (self.folder / (key.name + suffix)).unlink(missing_ok=True)

    def entries(self) -> list[tuple[EngineKey, Mapping[str, Any]]]:
        """Keys and facts of all engines whose record can be trusted."""
        found: list[tuple[EngineKey, Mapping[str, Any]]] = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = _record(_read_own(path, _MAX_RECORD_BYTES), path)
                found.append((_key_of(record, path), record["facts"]))
            except (_RefusedError, OSError) as error:  # noqa: PERF203 - one bad record must not hide the others
                _log.warning("%s", error)
        return found

    def side_file(self, name: str) -> bytes | None:
        """Content of another file kept here (timing measurements), under the same rules."""
        try:
            return _read_own(self.folder / name)
        except FileNotFoundError:
            return None
        except (_RefusedError, OSError) as error:
            _log.warning("%s", error)
            return None

    def write_side_file(self, name: str, content: bytes) -> None:
        _write_own(self.folder / name, content)

    def _read(self, key: EngineKey) -> CachedEngine:
        record_path, plan_path = self.folder / f"{key.name}.json", self.folder / f"{key.name}.engine"
        record = _record(_read_own(record_path, _MAX_RECORD_BYTES), record_path)
        if _key_of(record, record_path) != key:
            raise _RefusedError(f"{record_path}: is about another engine")
        try:
            plan = _read_own(plan_path)
        except FileNotFoundError:
            raise _RefusedError(f"{plan_path}: is missing beside its record") from None
        if record.get("sha256") != digest(plan):
            raise _RefusedError(f"{plan_path}: does not have the checksum in its record; it is damaged or changed")
        return CachedEngine(key, plan, record["facts"])

    def _write(self, key: EngineKey, plan: bytes, facts: Mapping[str, Any]) -> None:
        record = {"format": _FORMAT, "key": asdict(key), "sha256": digest(plan), "facts": dict(facts)}
        _write_own(self.folder / f"{key.name}.engine", plan)
        _write_own(self.folder / f"{key.name}.json", json.dumps(record, indent=1).encode())  # last: makes it count

    def _say_why(self, key: EngineKey) -> None:
        """Name the nearest engine there is, and what makes it unfit."""
        related = [other for other, _ in self.entries() if other.model_hash == key.model_hash and other != key]
        if related:
            nearest = min(related, key=lambda other: other.differences(key).count("->"))
            _log.warning("no engine fits, building one; the nearest differs in %s", nearest.differences(key))

    @contextmanager
    def _lock(self, key: EngineKey) -> Iterator[None]:
        """One builder at a time, over threads and processes. The system drops the lock when its holder dies."""
        path = self.folder / f"{key.name}.lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BackendError(f"{path}: cannot be opened ({error.strerror}); choose another cache_dir") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("another process or thread is building this engine; waiting for it (%s)", path)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.lstat()
    except OSError as error:
        raise BackendError(f"{folder}: cannot be made ({error.strerror}); choose another cache_dir") from error
    if not stat.S_ISDIR(found.st_mode):
        raise BackendError(f"{folder}: is a link or no folder; give the real path of the engine cache")
    if found.st_uid != os.geteuid():
        raise BackendError(f"{folder}: belongs to user {found.st_uid}, not to this one; choose another cache_dir")
    if found.st_mode & _FOREIGN_BITS:
        _log.warning("%s: others could write here; its engines are thrown away and the folder is made private", folder)
        folder.chmod(0o700)
        for path in folder.iterdir():
            if not path.is_dir():
                path.unlink()


def _read_own(path: Path, limit: int | None = None) -> bytes:
    """Content of a file that only this user can have written: the checks are made on the file that is then read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise _RefusedError(f"{path}: cannot be opened as a plain file ({error.strerror})") from error
    try:
        _check_own(path, os.fstat(handle), limit)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _check_own(path: Path, found: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _RefusedError(f"{path}: is no plain file")
    if found.st_uid != os.geteuid():
        raise _RefusedError(f"{path}: was written by user {found.st_uid}, not by this one")
    if found.st_mode & _FOREIGN_BITS or found.st_nlink != 1:
        raise _RefusedError(
            f"{path}: others could have changed it (mode {stat.filemode(found.st_mode)}, {found.st_nlink} links)"
        )
    if limit is not None and found.st_size > limit:
        raise _RefusedError(f"{path}: {found.st_size} bytes are too many")


def _write_own(path: Path, content: bytes) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
        path.chmod(0o600)
    except OSError as error:
        raise BackendError(f"{path}: cannot be written ({error.strerror})") from error
    except DatasetError as error:
        raise BackendError(str(error)) from error


def _record(content: bytes, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except ValueError as error:
        raise _RefusedError(f"{path}: is no record of an engine ({error})") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT or not isinstance(record.get("facts"), dict):
        raise _RefusedError(f"{path}: is no record of an engine of this version")
    return record


def _key_of(record: Mapping[str, Any], path: Path) -> EngineKey:
    try:
        return EngineKey(**record["key"])
    except (KeyError, TypeError) as error:
        raise _RefusedError(f"{path}: has no usable key ({error})") from error
