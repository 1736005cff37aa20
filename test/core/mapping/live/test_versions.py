"""When versions of a map are made, with a stand-in for the process that makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfnet_core.mapping.live import versions as module
from hfnet_core.mapping.live.solver_process import Solved
from hfnet_core.mapping.live.versions import MapVersions


class Process:
    """Ends with what it is told."""

    def __init__(self, folder: Path, output: Path) -> None:
        self.stage, self.cpu_s, self.warnings = "matching keyframes 1/2", 1.5, ["a stretch is left out"]
        self.result: Solved | None = None
        self.killed = False

    def poll(self) -> Solved | None:
        return self.result

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def make(every_s: float) -> tuple[MapVersions, list[Process]]:
    started: list[Process] = []

    def start(folder: Path, output: Path) -> Process:
        started.append(Process(folder, output))
        return started[-1]

    return MapVersions(Path("a.hfdrive"), Path("a.hfmap"), every_s, start), started  # type: ignore[arg-type]


def test_a_version_is_due_after_a_while_where_something_is_new(clock: list[float]) -> None:
    versions, started = make(20.0)
    assert versions.tick(4) is None
    assert not started  # too few
    versions.tick(5)
    assert len(started) == 1
    assert versions.stage == "matching keyframes 1/2"
    assert versions.warnings() == ["a stretch is left out"]
    assert versions.warnings() == []
    clock[0] += 30.0
    versions.tick(9)
    assert len(started) == 1  # one at a time
    started[0].warnings.append("said at its end")
    started[0].result = Solved("", 5, 100, 3.0)
    assert versions.tick(9) == Solved("", 5, 100, 3.0)
    assert versions.warnings() == ["said at its end"]
    assert (versions.made, versions.newest_s, versions.stage) == (1, clock[0], "")
    versions.tick(9)
    assert len(started) == 2
    started[1].result = Solved("", 9, 200, 3.0)
    versions.tick(9)
    clock[0] += 100.0
    versions.tick(9)
    assert len(started) == 2  # nothing is new
    assert versions.cpu_s == 3.0
    versions.tick(10)
    assert len(started) == 3


def test_what_is_asked_for_is_made_of_everything_so_far(clock: list[float]) -> None:
    versions, started = make(0.0)
    clock[0] += 1000.0
    versions.tick(50)
    assert not started  # nobody asked
    first = versions.request()
    versions.tick(50)
    second = versions.request()  # while one is made that may lack what has come since
    started[0].result = Solved("", 50, 100, 3.0)
    versions.tick(60)
    assert versions.has_ended(first)
    assert not versions.has_ended(second)
    versions.tick(60)
    assert len(started) == 2
    started[1].result = Solved("", 60, 120, 3.0)
    assert versions.tick(60) == Solved("", 60, 120, 3.0)
    assert versions.has_ended(second)
    third = versions.request()
    assert versions.tick(60) == Solved("", 60, 120, 3.0)  # it is made already
    assert versions.has_ended(third)
    assert len(started) == 2


def test_one_that_fails_leaves_the_one_before_and_is_tried_again(clock: list[float]) -> None:
    versions, started = make(20.0)
    versions.tick(6)
    started[0].result = Solved("no landmark could be triangulated")
    assert versions.tick(6) == Solved("no landmark could be triangulated")
    assert (versions.newest, versions.made) == (None, 0)
    clock[0] += 20.0
    versions.tick(6)
    assert len(started) == 1
    versions.tick(7)
    assert len(started) == 2
    attempt = versions.request()
    versions.close()
    assert started[1].killed
    assert not versions.has_ended(attempt)
    assert versions.stage == ""
