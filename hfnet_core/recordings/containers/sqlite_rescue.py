"""Recordings in sqlite3 that were cut off: read from a repaired copy, the original stays as it is."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from pathlib import Path

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.containers.sqlite_checks import TABLES, columns_of, opened

__all__ = ["is_unfinished", "rescued_copy"]

_JOURNALS = ("-wal", "-journal")
_MAGIC = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names the one of several databases
_TYPES = ("INTEGER", "TEXT", "BLOB")
_log = logging.getLogger(__name__)


def is_unfinished(path: Path) -> bool:
    """Whether a recorder has left a journal behind, so that the file alone is not all there is."""
    return any(_beside(path, suffix).is_file() and _beside(path, suffix).stat().st_size for suffix in _JOURNALS)


def rescued_copy(path: Path, folder: Path) -> Path:
    """A whole database in `folder` with every message that can be read.

    Raises DatasetError where there is none, or the database is no recording (ForeignDatabaseError).
    """
    copy, out = folder / f"cut-{path.name}", folder / path.name
    try:
        shutil.copyfile(path, copy)
        for suffix in _JOURNALS:  # not what processes share beside them: sqlite makes it anew
            if _beside(path, suffix).is_file():
                shutil.copyfile(_beside(path, suffix), _beside(copy, suffix))
        _forget_other_journals(_beside(copy, "-journal"))
        if not is_unfinished(path):
            _shorten(copy)
        size = sum(
            _beside(copy, suffix).stat().st_size for suffix in ("", *_JOURNALS) if _beside(copy, suffix).exists()
        )
        count, stopped = _copy_rows(copy, out, size)
    except OSError as error:
        raise DatasetError(f"{path.name} was cut off and cannot be copied to repair it ({error.strerror})") from error
    finally:
        for suffix in ("", *_JOURNALS, "-shm"):
            _beside(copy, suffix).unlink(missing_ok=True)
    if not count:
        raise DatasetError(
            f"{path.name} was cut off and holds no message that can be read; `sqlite3 .recover` may help"
        )
    _log.warning("%s: was cut off and is read up to there: %d messages%s", path, count, stopped and f" ({stopped})")
    return out


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _forget_other_journals(journal: Path) -> None:
    """A journal may name another file, which sqlite would delete after it has rolled back."""
    if not journal.is_file() or journal.stat().st_size < len(_MAGIC):
        return
    with journal.open("r+b") as file:
        file.seek(-len(_MAGIC), 2)
        if file.read() == _MAGIC:
            file.seek(-len(_MAGIC), 2)
            file.write(bytes(len(_MAGIC)))


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


def _copy_rows(source: Path, target: Path, size: int) -> tuple[int, str]:
    """(messages copied, what ended it before the last): opening applies what the journal holds.

    size: of both, in bytes. Who finds more rows than that goes in circles.
    """
    new = sqlite3.connect(target)
    messages, stopped = 0, ""
    try:
        new.execute("PRAGMA journal_mode = OFF")  # a copy that is thrown away when anything goes wrong
        new.execute("PRAGMA synchronous = OFF")
        with opened(source, immutable=False) as old:
            for name in TABLES:
                done, problem = _copy_table(old, new, source, name, size)
                messages = done if name == "messages" else messages
                stopped = stopped or problem
        new.commit()
    except sqlite3.Error as error:
        stopped = str(error)
    finally:
        new.close()
    return messages, stopped


def _copy_table(
    old: sqlite3.Connection, new: sqlite3.Connection, source: Path, name: str, room: int
) -> tuple[int, str]:
    """name: one of TABLES. The new table has its columns, by our own words: the file's may say anything."""
    columns = columns_of(old, source, name)
    if not columns:
        return 0, ""
    listed = ", ".join(f"{_quoted(column)} {kind if kind in _TYPES else ''}" for column, kind in columns)
    new.execute(f"CREATE TABLE {name}({listed})")
    done, marks = 0, ", ".join("?" * len(columns))
    try:
        for row in old.execute(f"SELECT * FROM {name}"):  # nosec B608
            new.execute(f"INSERT INTO {name} VALUES ({marks})", row)  # nosec B608
            done += 1
            room -= sum(len(value) if isinstance(value, bytes | str) else 1 for value in row)
            if room < 0:
                return done, "its pages lead in circles"
    except sqlite3.Error as error:
        return done, str(error)
    return done, ""


def _quoted(column: str) -> str:
    doubled = column.replace('"', '""')
    return f'"{doubled}"'
