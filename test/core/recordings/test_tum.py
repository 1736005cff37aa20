"""Poses as text, those of strangers included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.recordings.tum import parse_pose, read_tum, stamp_ns


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "poses.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_rows_are_read_to_the_nanosecond(tmp_path: Path) -> None:
    text = "\ufeff# by an editor\n1700000000.123456789 1 2 3 0 0 0 2 a.png\n-1.5,0,0,0,0,0,0,1\n"
    rows = read_tum(written(tmp_path, text))
    assert [row.stamp_ns for row in rows] == [1700000000123456789, -1500000000]
    assert rows[0].name == "a.png"
    assert rows[0].pose.translation.tolist() == [1, 2, 3]
    assert stamp_ns("1e3") == 10**12


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inf 0 0 0 0 0 0 1", "stamp inf is no time"),
        ("nan 0 0 0 0 0 0 1", "stamp nan is no time"),
        ("99999999999999999999 0 0 0 0 0 0 1", "stamp 99999999999999999999 is no time"),
        ("-99999999999999999999 0 0 0 0 0 0 1", "is no time"),
        ("1e300 0 0 0 0 0 0 1", "is no time"),
        ("9" * 6000 + " 0 0 0 0 0 0 1", "is no time"),
        ("\u0661 0 0 0 0 0 0 1\u00b2", "could not convert"),
        ("--5 0 0 0 0 0 0 1", "could not convert"),
        ("1 nan 0 0 0 0 0 1", "not finite or too large"),
        ("1 1e300 0 0 0 0 0 1", "not finite or too large"),
        ("1 0 0 0 0 0 0 1e300", "not finite or too large"),
        ("1 0 0 0 0 0 0 1e-300", "zero quaternion"),
        ("1 0 0 0 0 0 0", "has 7 columns"),
    ],
)
def test_a_line_that_is_no_pose_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, f"1 0 0 0 0 0 0 1\n{line}\n")
    with pytest.raises(DatasetError, match=said) as caught:
        read_tum(path)
    assert f"{path}, line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="is no regular file"):
        read_tum(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="Is a directory"):
        read_tum(tmp_path)
    with pytest.raises(DatasetError, match="No such file"):
        read_tum(tmp_path / "none")
    with pytest.raises(DatasetError, match="null"):
        read_tum(Path("a\0b"))


def test_a_text_that_is_none_or_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="byte 2 is not UTF-8"):
        read_tum(written(tmp_path, b"1 \xff"))
    monkeypatch.setenv("HFNET_MAX_TEXT_MB", "1")
    with pytest.raises(DatasetError, match="has 2 MB, more than the limit of 1 MB, raised by HFNET_MAX_TEXT_MB"):
        read_tum(written(tmp_path, "#" * 2_000_000))
    monkeypatch.setenv("HFNET_MAX_TEXT_MB", "many")
    with pytest.raises(ConfigError, match="HFNET_MAX_TEXT_MB: 'many' is no positive whole number of MB"):
        read_tum(written(tmp_path, "#"))


def test_poses_of_command_lines_are_checked_alike() -> None:
    assert parse_pose("1 2 3 0 0 0 1").translation.tolist() == [1, 2, 3]
    for text in ("1 2 3", "1 2 inf 0 0 0 1", "1 2 3 0 0 0 0"):
        with pytest.raises(DatasetError, match="write x y z qx qy qz qw"):
            parse_pose(text)
