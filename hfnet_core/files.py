"""Files that appear whole or not at all, and reading those of strangers."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from hfnet_core.errors import ConfigError, DatasetError, HFNetError, ShortageError
from hfnet_core.limits import TEXT, Limit

__all__ = [
    "allow_open_files",
    "home_path",
    "make_folder",
    "read_file",
    "read_text",
    "shortage",
    "whole_file",
    "written_whole",
]

_SHORTAGES = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def allow_open_files() -> None:
    """As many files open at once as the system lets us have: each one that is mapped counts, and a drive's keyframes
    are mapped, thousands of them. For programs, not for the library."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # where "unlimited" is more than the kernel takes
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shortage(path: Path, error: OSError) -> ShortageError | None:
    """What to raise where a file cannot be opened for want of memory or open files, None for any other reason."""
    if error.errno not in _SHORTAGES:
        return None
    return ShortageError(
        f"{path}: cannot be opened ({error.strerror}): close other programs, or allow more (ulimit -n files, -v memory)"
    )


def home_path(text: str) -> Path:
    """A path in which ~ stands for a home directory. Raises ConfigError where nobody has that name."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: ~ names nobody who has a home directory; give the whole path") from error


def make_folder(path: Path) -> None:
    """The folder with those above it, where it is missing. Raises DatasetError where it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be created ({error.strerror}); choose another folder") from error


def read_file(path: Path, limit: Limit, error: type[HFNetError] = DatasetError, what: str = "") -> bytes:
    """The content of a regular file; a pipe or device, which may never end, is refused.

    what: it should be, for messages. Raises `error` where it is missing, cannot be read or is larger than the limit.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"{path}: is no regular file")
            if status.st_size > limit.value():
                raise error(f"{path}: has {status.st_size / 1e6:.0f} MB, more than the limit of {limit}")
            return file.read(status.st_size)
    except (OSError, ValueError) as failure:  # ValueError: a name with a null character
        short = shortage(path, failure) if isinstance(failure, OSError) else None
        reason = getattr(failure, "strerror", None) or str(failure)
        raise short or error(f"{path}: cannot be read{f' as {what}' if what else ''} ({reason})") from failure


def read_text(path: Path, what: str) -> str:
    """A text file in UTF-8, without the mark that some editors put at its beginning.

    Raises DatasetError where the file cannot be read, see `read_file`, or is no text.
    """
    content = read_file(path, TEXT, what=what)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: is no text (byte {error.start} is not UTF-8); give {what}") from error


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes its name at the end and vanishes on any error.

    The temporary file is created exclusively, under a name that nobody can plant a link at; what a killed process left
    of the same file is removed. Raises DatasetError when the folder does not exist or may not be written, or the disk
    fills up or the file grows too large meanwhile.
    """
    path = Path(path)
    if path.is_dir():
        raise DatasetError(f"{path}: is a folder; give the name of a file to write")
    try:
        _remove_left(path)
        handle, temporary = _temporary(path)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror}); create its folder or choose another"
        ) from error
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); make room or choose another disk") from error
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside a path, locked as long as its handle is open: who finds it unlocked knows that nobody works
    on it any more."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent or Path())
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # somebody who tidies up was faster than the lock


def _remove_left(path: Path) -> None:
    """What killed processes left of the same file."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(path.suffix)}")
    for name in _hidden(path.parent):
        if left.fullmatch(name):
            with suppress(OSError):
                _remove_unlocked(path.parent / name)


def _remove_unlocked(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


@lru_cache(maxsize=8)
def _hidden(folder: Path) -> tuple[str, ...]:
    """Hidden names of a folder when this process first wrote there: later ones are its own."""
    return tuple(item.name for item in folder.glob(".*"))


def written_whole(path: Path, text: str) -> None:
    """Write a text file in one step."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
