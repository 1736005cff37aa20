"""Databases that strangers made on purpose: an answer or one line, soon, and no file but the copy is touched."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'hfnet_ros[bags]'")

from bags import write_bag

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.containers.opening import open_container

READ = """
import sys, logging
from pathlib import Path
from hfnet_core.errors import HFNetError
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
try:
    with Bag(Path(sys.argv[1]), BagOptions(camera_optional=True)) as bag:
        print("read", sum(1 for _ in bag.frames()))
except HFNetError as error:
    print("refused", error)
"""


def read(path: Path, timeout_s: float = 60.0) -> str:
    """What comes of it, in a process that may hang."""
    command = [sys.executable, "-c", READ, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=timeout_s).stdout.strip()


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("honest") / "a", "sqlite3", frames=3)


@pytest.fixture
def bag(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "a"))


def database(bag: Path) -> sqlite3.Connection:
    return sqlite3.connect(next(bag.glob("*.db3")), isolation_level=None)


def _view(data: sqlite3.Connection) -> None:
    """Rows without end in the place of the definitions of messages."""
    data.execute("DROP TABLE IF EXISTS message_definitions")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    columns = "x AS id, 'a' AS topic_type, 'ros2msg' AS encoding, 'b' AS encoded_message_definition"
    data.execute(f"CREATE VIEW message_definitions AS {endless} SELECT {columns}, '' AS type_description_hash FROM n")
    data.execute("UPDATE schema SET schema_version = 4")


def _generated(data: sqlite3.Connection) -> None:
    """A gigabyte in every message, computed when it is read."""
    data.execute("ALTER TABLE messages RENAME TO old")
    data.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id, timestamp, data AS (zeroblob(900000000)))")
    data.execute("INSERT INTO messages(id, topic_id, timestamp) SELECT id, topic_id, timestamp FROM old")
    data.execute("DROP TABLE old")


def _virtual(data: sqlite3.Connection) -> None:
    data.execute("DROP TABLE messages")
    data.execute("CREATE VIRTUAL TABLE messages USING fts4(id, topic_id, timestamp, data)")


def _same_topics(data: sqlite3.Connection) -> None:
    """20,000 topics of one number with 200,000 messages: joined, four billion rows."""
    rows = data.execute("SELECT * FROM topics").fetchall()
    data.execute("ALTER TABLE topics RENAME TO old")
    columns = ", ".join(name for _, name, *_ in data.execute("PRAGMA table_info(old)").fetchall())
    data.execute(f"CREATE TABLE topics({columns})")
    data.execute("BEGIN")
    marks = ", ".join("?" * len(rows[0]))
    data.executemany(f"INSERT INTO topics VALUES ({marks})", [rows[0]] * 20_000)
    one = data.execute("SELECT topic_id, timestamp FROM messages LIMIT 1").fetchone()
    data.executemany(
        "INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, x'00')", [(rows[0][0], one[1])] * 200_000
    )
    data.execute("COMMIT")


@pytest.mark.parametrize("spoil", [_view, _generated, _virtual, _same_topics])
def test_tables_that_are_none_are_refused_at_once(bag: Path, spoil: Callable[[sqlite3.Connection], None]) -> None:
    with database(bag) as data:
        spoil(data)
    data.close()
    for path in (bag, next(bag.glob("*.db3"))):
        said = read(path)
        assert said.startswith("refused"), said
        assert "database" in said


def test_pages_that_are_used_again_and_again_are_damage(bag: Path) -> None:
    """A tree whose branches all lead to one leaf: a small file of more rows than anybody can count."""
    path = next(bag.glob("*.db3"))
    with database(bag) as data:
        data.execute("BEGIN")
        data.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, 1, ?)", [(bytes(3000),)] * 3000)
        data.execute("COMMIT")
        page = data.execute("PRAGMA page_size").fetchone()[0]
        (root,) = data.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    data.close()
    raw = bytearray(path.read_bytes())
    _lead_to_itself(raw, root, page)
    path.write_bytes(raw)
    said = read(path)
    assert said.startswith(("refused", "read")), said


def _lead_to_itself(raw: bytearray, root: int, page: int) -> None:
    """Copies of an inner page, ten levels deep, every cell of a level leading to the next: 200 ** 10 leaves."""
    start = (root - 1) * page
    assert raw[start] == 5  # an inner page of a table
    cells = int.from_bytes(raw[start + 3 : start + 5], "big")
    assert cells > 5
    leaf = raw[start + int.from_bytes(raw[start + 12 : start + 14], "big") :][:4]
    levels = [len(raw) // page + 1 + level for level in range(10)]
    template = bytes(raw[start : start + page])
    for level, _ in enumerate(levels):
        following = levels[level + 1].to_bytes(4, "big") if level + 1 < len(levels) else bytes(leaf)
        raw.extend(_with_children(template, cells, following))
    raw[start : start + page] = _with_children(template, cells, levels[0].to_bytes(4, "big"))
    raw[28:32] = (len(raw) // page).to_bytes(4, "big")
    raw[92:96] = raw[24:28]  # the number of pages counts


def _with_children(template: bytes, cells: int, child: bytes) -> bytes:
    page = bytearray(template)
    page[8:12] = child
    for cell in range(cells):
        at = int.from_bytes(page[12 + 2 * cell : 14 + 2 * cell], "big")
        page[at : at + 4] = child
    return bytes(page)


def test_a_journal_that_names_another_file_does_not_delete_it(bag: Path, tmp_path: Path) -> None:
    """sqlite removes the journal of several databases when it rolls one back, wherever the journal says that it is."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    path = next(bag.glob("*.db3"))
    journal = path.with_name(path.name + "-journal")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA cache_size = 1")
    reader.execute("PRAGMA cache_spill = 1")
    reader.execute("BEGIN")
    reader.execute("UPDATE messages SET timestamp = timestamp + 1")
    reader.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES (1, 1, ?)", [(bytes(4000),)] * 50)
    kept, data = journal.read_bytes(), path.read_bytes()
    reader.rollback()
    reader.close()
    path.write_bytes(data)
    name = str(precious).encode()
    total = (sum(name) & 0xFFFFFFFF).to_bytes(4, "big")
    trailer = (1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") + total + bytes.fromhex("d9d505f920a163d7")
    kept = bytearray(kept[: len(kept) // 512 * 512])
    kept[8:12] = b"\xff\xff\xff\xff"  # as many records as there are
    journal.write_bytes(bytes(kept) + trailer)
    assert read(bag).startswith(("read", "refused"))
    assert precious.read_text() == "mine"


def test_an_honest_database_is_read(bag: Path) -> None:
    container = open_container(bag)
    assert sum(connection.msgcount for connection in container.reader.connections) > 3
    container.close()


def test_what_is_no_database_is_one_line(bag: Path) -> None:
    next(bag.glob("*.db3")).write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(DatasetError, match="db3"):
        open_container(next(bag.glob("*.db3")))
