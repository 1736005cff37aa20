"""When versions of a map are made, with a stand-in for the process that makes them."""

from __future__ import annotations

import errno
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


class Growing(Process):
    """Stays ready."""

    def __init__(self, folder: Path, output: Path) -> None:
        super().__init__(folder, output)
        self.begun, self.has_ended = 0, False

    def begin(self) -> None:
        self.begun, self.result = self.begun + 1, None


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


def test_between_whole_versions_the_map_grows(clock: list[float], tmp_path: Path) -> None:
    """Whole ones are made of a map that has grown by a share, and leave as much time as they take."""
    started: list[Process] = []
    growing: list[Growing] = []

    def start(folder: Path, output: Path) -> Process:
        started.append(Process(folder, output))
        return started[-1]

    def grow(folder: Path, output: Path) -> Growing:
        growing.append(Growing(folder, output))
        return growing[-1]

    versions = MapVersions(tmp_path, tmp_path / "a.hfmap", 5.0, start, grow)  # type: ignore[arg-type]
    versions.tick(0)
    assert not growing
    versions.tick(4)
    assert (len(growing), growing[0].begun) == (1, 0)  # it gets ready meanwhile
    versions.tick(20)
    assert (len(started), growing[0].begun, versions.stage) == (0, 1, "adding keyframes")
    clock[0] += 2.0
    assert versions.tick(24) is None
    assert growing[0].begun == 1  # one at a time
    growing[0].result = Solved("", 20, 200, 2.0, is_grown=True)
    assert versions.tick(24) == Solved("", 20, 200, 2.0, is_grown=True)
    assert versions.tick(24) is None
    assert (versions.made, versions.newest) == (1, Solved("", 20, 200, 2.0, is_grown=True))
    clock[0] += 3.0
    versions.tick(24)
    assert growing[0].begun == 2
    growing[0].result = Solved(is_grown=True)  # nothing was to be added
    assert versions.tick(24) is None
    assert versions.made == 1
    versions.tick(32)
    assert len(started) == 1
    clock[0] += 10.0
    started[0].result = Solved("", 32, 250, 10.0)
    assert versions.tick(41) == Solved("", 32, 250, 10.0)
    clock[0] += 9.0
    versions.tick(41)
    assert len(started) == 1  # a rest as long as it took
    clock[0] += 1.0
    versions.tick(41)
    assert len(started) == 2
    attempt = versions.request()
    clock[0] += 100.0
    begun = growing[0].begun
    versions.tick(50)
    assert growing[0].begun == begun  # somebody waits for a whole one
    started[1].result = Solved("", 24, 300, 10.0)
    versions.tick(50)
    versions.tick(50)
    started[2].result = Solved("", 50, 400, 10.0)
    assert versions.tick(50) == Solved("", 50, 400, 10.0)
    assert versions.has_ended(attempt)
    growing[0].result = Solved(is_grown=True)
    assert versions.tick(50) is None
    clock[0] += 200.0
    versions.tick(60)
    assert growing[0].begun == begun + 1
    growing[0].result, growing[0].has_ended = Solved("the process ended", is_grown=True), True
    assert versions.tick(60) == Solved("the process ended", is_grown=True)
    assert growing[0].killed
    clock[0] += 100.0
    versions.tick(70)
    assert (len(growing), growing[1].begun) == (2, 1)  # another one for one that ended
    versions.close()
    assert growing[1].killed


def test_with_a_map_that_hardly_grows_the_whole_is_adjusted_seldom(clock: list[float], tmp_path: Path) -> None:
    started: list[Process] = []

    def start(folder: Path, output: Path) -> Process:
        started.append(Process(folder, output))
        return started[-1]

    versions = MapVersions(tmp_path, tmp_path / "a.hfmap", 5.0, start, Growing)  # type: ignore[arg-type]
    versions.tick(0)
    clock[0] += 29.0
    versions.tick(10)
    assert not started
    clock[0] += 2.0
    versions.tick(10)  # of a robot that stands still
    assert len(started) == 1
    started[0].result = Solved("", 10, 100, 1.0)
    versions.tick(10)
    started.clear()
    clock[0] += 10.0
    versions.tick(100)
    clock[0] += 20.0
    started[0].result = Solved("", 100, 100, 20.0)
    versions.tick(100)
    clock[0] += 60.0
    versions.tick(110)
    assert len(started) == 1
    clock[0] += 30.0
    versions.tick(110)
    assert len(started) == 2


def test_a_process_that_cannot_be_started_is_said_and_tried_again(clock: list[float]) -> None:
    started: list[Process] = []

    def start(folder: Path, output: Path) -> Process:
        if not started:
            started.append(Process(folder, output))
            raise OSError(errno.ENOSPC, "No space left on device")
        started.append(Process(folder, output))
        return started[-1]

    versions = MapVersions(Path("a.hfdrive"), Path("a.hfmap"), 20.0, start)  # type: ignore[arg-type]
    attempt = versions.request()
    found = versions.tick(10)
    assert found is not None
    assert found.error == "no process can be started (No space left on device)"
    assert versions.has_ended(attempt)
    again = versions.request()
    assert versions.tick(10) is None
    started[-1].result = Solved("", 10, 100, 3.0)
    assert versions.tick(10) is not None
    assert versions.has_ended(again)
