"""A file of hloc's that is added to is whole at every moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange import hloc_writing
from hfnet_core.features.exchange.hloc_files import HlocFile
from hfnet_core.features.exchange.hloc_writing import HlocWriter, append_matches

MATCH = np.array([[0, 2]], np.int32)


def matches(*names: str, then: BaseException | None = None) -> Iterator[tuple]:
    for name in names:
        yield (name, "b"), 6, MATCH, np.ones(1, np.float32)
    if then is not None:
        raise then


def stored(path: Path) -> list[str]:
    with HlocFile(path) as file:
        return file.names()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DatasetError("a: has no features")])
def test_what_was_added_before_an_error_is_kept(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "m.h5"
    append_matches(path, matches("a"))
    with pytest.raises(type(error)):
        append_matches(path, matches("c", "d", then=error))
    assert stored(path) == ["a/b", "c/b", "d/b"]
    assert [item.name for item in tmp_path.iterdir()] == ["m.h5"]


def test_the_file_is_whole_while_it_is_added_to_and_after_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.h5"
    append_matches(path, matches("a"))
    seen = []

    def watched() -> Iterator[tuple]:
        for item in matches("c", "d"):
            yield item
            seen.append(stored(path))

    append_matches(path, watched())
    assert seen == [["a/b"], ["a/b"]]  # a kill would leave this
    monkeypatch.setattr(hloc_writing, "_KEPT_S", 0.0)
    monkeypatch.setattr(hloc_writing, "_COPIES", 0.0)
    seen.clear()
    append_matches(path, (item for item in matches("e")))
    append_matches(path, watched())
    assert seen == [["a/b", "c/b", "d/b", "e/b"]] * 2
    assert stored(path) == ["a/b", "c/b", "d/b", "e/b"]


def test_a_file_that_another_program_has_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    append_matches(path, matches("a"))

    def other() -> Iterator[tuple]:
        yield from matches("c")
        append_matches(path, matches("d"))

    with pytest.raises(DatasetError, match="another program has changed it meanwhile; run this again"):
        append_matches(path, other())
    assert stored(path) == ["a/b", "d/b"]
    assert [item.name for item in tmp_path.iterdir()] == ["m.h5"]


def test_nothing_added_makes_no_file(tmp_path: Path) -> None:
    assert append_matches(tmp_path / "m.h5", matches()) == 0
    with HlocWriter(tmp_path / "n.h5"):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_no_hdf5_is_one_line_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_text("not a file of matches")
    with pytest.raises(DatasetError, match=r"m\.h5: cannot be written as HDF5"):
        append_matches(path, matches("a"))
    assert path.read_text() == "not a file of matches"
    assert [item.name for item in tmp_path.iterdir()] == ["m.h5"]
