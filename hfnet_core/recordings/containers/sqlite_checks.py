"""Recordings in sqlite3 are programs in part: what a database computes when it is read, only data may decide.

A table may be a view without end, a column an expression of gigabytes, a page a branch of itself. Recorders make none
of these, so databases that have them are refused before rosbags, which trusts them, reads the first row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from hfnet_core.errors import DatasetError

__all__ = ["TABLES", "ForeignDatabaseError", "check_database", "columns_of", "opened"]

TABLES = ("schema", "metadata", "message_definitions", "topics", "messages")
_EVERY = 10_000  # steps of sqlite's machine between two looks at how many there were
_STEPS_PER_BYTE, _STEPS = 4, 5_000_000  # a row takes about eight steps and no less than ten bytes
_TOPICS = 10_000  # rosbags searches them one by one


class ForeignDatabaseError(DatasetError):
    """A database that no recorder makes; there is nothing to rescue."""


@contextmanager
def opened(path: Path, *, immutable: bool) -> Iterator[sqlite3.Connection]:
    """A connection whose queries end: after more steps than the file's size can explain they are interrupted.

    immutable: never look for a journal, write nothing. Closed at the end.
    """
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    data = sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True)
    left = (_STEPS + _STEPS_PER_BYTE * path.stat().st_size) // _EVERY

    def count() -> int:
        nonlocal left
        left -= 1
        return left < 0

    try:
        data.set_progress_handler(count, _EVERY)
        data.execute("PRAGMA trusted_schema = OFF")
        yield data
    finally:
        data.close()


def columns_of(data: sqlite3.Connection, path: Path, table: str) -> list[tuple[str, str]]:
    """(name, declared type) of a table's columns, none where there is no such table.

    table: one of TABLES. Raises ForeignDatabaseError where it is no plain table, and sqlite3.Error.
    """
    columns = data.execute(f"PRAGMA table_xinfo({table})").fetchall()
    if any(hidden for *_, hidden in columns):
        raise ForeignDatabaseError(f"{path}: is a database whose table {table} computes what it holds: no recording")
    if columns:
        _check_is_stored(data, path, table)
    return [(str(name), str(kind).upper()) for _, name, kind, *_ in columns]


def _check_is_stored(data: sqlite3.Connection, path: Path, table: str) -> None:
    """A view reads other tables in its name, or calls functions: sqlite asks about each when it prepares a query."""
    asked: list[tuple[int, str | None]] = []

    def note(action: int, one: str | None, other: str | None, base: str | None, view: str | None) -> int:
        allowed = action == sqlite3.SQLITE_SELECT or (action == sqlite3.SQLITE_READ and view is None)
        if not allowed:
            asked.append((action, one))
        return sqlite3.SQLITE_OK

    data.set_authorizer(note)
    try:
        data.execute(f"EXPLAIN SELECT * FROM {table}").close()  # nosec B608
    finally:
        data.set_authorizer(None)
    if asked:
        raise ForeignDatabaseError(f"{path}: is a database in which {table} is no table but a query: no recording")


def check_database(path: Path) -> None:
    """Look at a database as it lies there, without its journal.

    Raises ForeignDatabaseError for one that no recorder makes, and sqlite3.Error for one that is damaged.
    """
    with opened(path, immutable=True) as data:
        virtual = "SELECT count(*) FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'"
        if data.execute(virtual).fetchone()[0]:
            raise ForeignDatabaseError(f"{path}: is a database with virtual tables, which no recording has")
        known = {table for table in TABLES if columns_of(data, path, table)}
        if {"topics", "messages"} <= known:
            _check_rows(data, path)


def _check_rows(data: sqlite3.Connection, path: Path) -> None:
    """Every row is counted one by one: the shortcut of count(*) counts pages that are used again without end."""
    topics, different = data.execute("SELECT count(id), count(DISTINCT id) FROM topics").fetchone()
    if topics > _TOPICS or topics != different:
        raise ForeignDatabaseError(f"{path}: is a database of {topics} topics with {different} numbers: no recording")
    data.execute("SELECT count(*) FROM messages WHERE topic_id IS NOT 0.5").fetchone()
