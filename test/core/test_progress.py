"""Work that takes long tells how far it is, however long its steps are."""

from __future__ import annotations

import threading

from hfnet_core.progress import ProgressLines


def test_a_line_comes_every_few_seconds_even_within_a_step() -> None:
    lines: list[str] = []
    third = threading.Event()

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            third.set()

    with ProgressLines(report, every_s=0.02) as progress:
        progress("training", 7, 90)
        assert third.wait(20)
    assert all(line.startswith("training: 7 of 90, ") for line in lines)
    count = len(lines)
    assert not threading.Event().wait(0.1)
    assert len(lines) == count  # closed: no more of them


def test_an_unknown_total_is_not_told() -> None:
    told = threading.Event()
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        told.set()

    with ProgressLines(report, every_s=0.01) as progress:
        progress("images found", 12, 0)
        assert told.wait(20)
    assert lines[0].startswith("images found: 12, ")
