"""Recordings in sqlite3 that were cut off: read from a repaired copy, the original stays as it is."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

from hfnet_core.errors import DatasetError

__all__ = ["is_unfinished", "rescued_copy"]

_JOURNALS = ("-wal", "-journal")
_SHARED = "-shm"
_TABLES = ("schema", "metadata", "message_definitions", "topics", "messages")
_log = logging.getLogger(__name__)


def is_unfinished(path: Path) -> bool:
    """Whether a recorder has left a journal behind, so that the file alone is not all there is."""
    return any(_beside(path, suffix).is_file() and _beside(path, suffix).stat().st_size for suffix in _JOURNALS)


def rescued_copy(path: Path, folder: Path) -> Path:
    """A whole database in `folder` with every message that can be read. Raises DatasetError where there is none."""
    copy, out = folder / f"cut-{path.name}", folder / path.name
    try:
        shutil.copyfile(path, copy)
        for suffix in (*_JOURNALS, _SHARED):
            if _beside(path, suffix).is_file():
                shutil.copyfile(_beside(path, suffix), _beside(copy, suffix))
        if not is_unfinished(path):
            _shorten(copy)
        count, stopped = _copy_rows(copy, out)
    except OSError as error:
        raise DatasetError(f"{path.name} was cut off and cannot be copied to repair it ({error.strerror})") from error
    finally:
        for suffix in ("", *_JOURNALS, _SHARED):
            _beside(copy, suffix).unlink(missing_ok=True)
    if not count:
        raise DatasetError(
            f"{path.name} was cut off and holds no message that can be read; `sqlite3 .recover` may help"
        )
    _log.warning("%s: was cut off and is read up to there: %d messages%s", path, count, stopped and f" ({stopped})")
    return out


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _shorten(path: Path) -> None:
    """Let a database say that it has the pages it has; sqlite reads none of one that lacks some of those announced.

    Offsets after sqlite's file format: size of a page at 16, number of pages at 28.
    """
    with path.open("r+b") as file:
        head = file.read(32)
        page = int.from_bytes(head[16:18], "big") or 0
        page = 65536 if page == 1 else page
        if len(head) == 32 and page and path.stat().st_size // page < int.from_bytes(head[28:32], "big"):
            file.seek(28)
            file.write((path.stat().st_size // page).to_bytes(4, "big"))


def _copy_rows(source: Path, target: Path) -> tuple[int, str]:
    """(messages copied, what ended it before the last): opening applies what the journal holds."""
    old, new = sqlite3.connect(source), sqlite3.connect(target)
    messages, stopped = 0, ""
    try:
        kept = [row for row in old.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'") if row[1]]
        for name, definition in kept:
            if name in _TABLES:
                new.execute(definition)
        for name, _ in kept:
            if name not in _TABLES:
                continue
            done, problem = _copy_table(old, new, name)
            messages = done if name == "messages" else messages
            stopped = stopped or problem
        new.commit()
    except sqlite3.Error as error:
        stopped = str(error)
    finally:
        old.close()
        new.close()
    return messages, stopped


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, name: str) -> tuple[int, str]:
    """name: one of _TABLES, never a word of the file's."""
    done = 0
    try:
        for row in old.execute(f"SELECT * FROM {name}"):  # nosec B608
            new.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)  # nosec B608
            done += 1
    except sqlite3.Error as error:
        return done, str(error)
    return done, ""
