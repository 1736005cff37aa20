"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.files import home_path, make_folder, whole_file, written_whole


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
