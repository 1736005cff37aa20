"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfnet_core.errors import ConfigError, DatasetError, ShortageError
from hfnet_core.files import _hidden, home_path, make_folder, read_text, whole_file, written_whole


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with whole_file(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    written_whole(target, "old")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["missing/a.txt", "."])
def test_an_impossible_place_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=str(tmp_path)):
        written_whole(tmp_path / name, "text")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match=r"file/c: cannot be created \(Not a directory\); choose another folder"):
        make_folder(tmp_path / "file" / "c")


def test_a_tilde_of_nobody_is_one_line() -> None:
    assert home_path("~/x") == Path.home() / "x"
    assert home_path("a/~b") == Path("a/~b")
    with pytest.raises(ConfigError, match="names nobody who has a home directory"):
        home_path("~no-such-user-here/x")


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path) -> None:
    program = "import os, sys; from pathlib import Path; from hfnet_core.files import whole_file\n"
    program += "with whole_file(Path(sys.argv[1])) as part:\n    part.write_text('half'); os._exit(9)"
    path = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    (tmp_path / ".a.txt.mine").write_text("somebody's own")
    assert len(list(tmp_path.iterdir())) == 2
    _hidden.cache_clear()
    written_whole(path, "whole")
    assert sorted(item.name for item in tmp_path.iterdir()) == [".a.txt.mine", "a.txt"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as first:
        first.write_text("first")
        _hidden.cache_clear()
        written_whole(path, "second")
        assert first.exists()
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_a_program_may_open_as_many_files_as_the_system_lets_it() -> None:
    program = "import resource as r; from hfnet_core.files import allow_open_files\n"
    program += "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); allow_open_files()\n"
    program += "print(r.getrlimit(r.RLIMIT_NOFILE) == (hard, hard))"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "True"


def test_too_few_open_files_are_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("whole")

    def refuses(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(ShortageError, match="Too many open files"):
        read_text(tmp_path / "a.txt", "a text")
