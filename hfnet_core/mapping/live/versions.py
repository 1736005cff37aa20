"""When a version of the map is made of what was recorded so far, and what became of it.

Two kinds are made as they are due: whole ones adjust everything and take longer the larger the map, so they are made
of a map that has grown by a share, and leave as much time as they take; between them the map grows by its newest
keyframes, which takes the same time always.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hfnet_core.mapping.live.growing import FEWEST
from hfnet_core.mapping.live.solver_process import GrowingProcess, Solved, SolverProcess

__all__ = ["MapVersions"]

_FEWEST = 5  # keyframes of a first version that nobody asked for
_GROWTH = 1.25  # of the keyframes, after which the whole is adjusted again
_REST, _GROWING_REST = 2.0, 1.25  # times its duration lie at least between the beginnings of two of a kind
_LATE, _LATE_S = 5.0, 30.0  # times its duration, and at least, after which the whole is adjusted, however little is new
_FEWEST_WHOLE = 30  # keyframes of a first version that adjusts the whole, where it grows before


class MapVersions:
    """Versions one after the other, in processes of their own; `tick` has to be called now and then."""

    def __init__(
        self,
        folder: Path,
        output: Path,
        every_s: float,
        start: Callable[[Path, Path], SolverProcess] = SolverProcess,
        grow: Callable[[Path, Path], GrowingProcess] | None = None,
    ) -> None:
        """every_s: between the beginnings of two; 0 makes those only that are asked for. start: makes a process. grow:
        makes one that adds to a version, None for whole ones only."""
        self._folder, self._output, self._start = folder, output, start
        self.every_s = every_s
        self.newest: Solved | None = None
        """The newest version made since the beginning."""
        self.made = 0
        """How many."""
        self.newest_s: float | None = None
        """When the newest was made, as time.monotonic()."""
        self._process: SolverProcess | None = None
        self._whole: Solved | None = None  # the newest of its kind
        self._last_warnings: list[str] = []
        self._began_s, self._took_s = -float("inf"), 0.0
        self._asked = self._started = self._ended = 0  # numbers of attempts
        self._taken = 0  # keyframes that the last attempt began with
        self._cpu_s = 0.0
        self._growth = None if grow is None else _Growth(lambda: grow(folder, output))

    # ---- what is wanted

    def request(self) -> int:
        """Ask for a version with everything recorded so far; returns the number of the attempt, see `has_ended`."""
        self._asked = self._started + 1
        return self._asked

    def has_ended(self, attempt: int) -> bool:
        """Whether an attempt is over, with a version or without."""
        return self._ended >= attempt

    def tick(self, keyframes: int) -> Solved | None:
        """Begin a version when one is due, and return what one has ended with, once. keyframes: recorded so far."""
        if self._growth is not None and not keyframes:
            self._began_s = time.monotonic()  # the drive has not begun
        found = self._begin(keyframes) if self._process is None else self._end(self._process)
        if found is not None:
            return found
        if self._growth is None:
            return None
        added = self._growth.end()
        if added is None and self._asked <= self._ended and self.every_s > 0 and keyframes:
            try:
                self._growth.begin(keyframes, self.every_s)
            except OSError as error:
                return _not_started(error)
        return None if added is None or (not added.error and not added.keyframes) else self._note(added)

    def _end(self, process: SolverProcess) -> Solved | None:
        found = process.poll()
        if found is None:
            return None
        self._cpu_s += process.cpu_s
        self._last_warnings += process.warnings
        self._process, self._ended, self._took_s = None, self._started, time.monotonic() - self._began_s
        if not found.error:
            self._whole = found
        return self._note(found)

    def _note(self, found: Solved) -> Solved:
        if not found.error:
            self.newest, self.newest_s, self.made = found, time.monotonic(), self.made + 1
        return found

    def _begin(self, keyframes: int) -> Solved | None:
        asked = self._asked > self._started
        if asked and self._whole is not None and self._taken == keyframes == self._whole.keyframes:
            self._started = self._ended = self._asked  # it is made already
            return self._whole
        if not asked and not self._is_due(keyframes):
            return None
        self._started, self._taken, self._began_s = self._started + 1, keyframes, time.monotonic()
        try:
            self._process = self._start(self._folder, self._output)
        except OSError as error:  # no memory for another process, no room for what it says
            self._ended = self._started
            return _not_started(error)
        return None

    def _is_due(self, keyframes: int) -> bool:
        since_s = time.monotonic() - self._began_s
        if self.every_s <= 0 or since_s < self.every_s or keyframes < max(_FEWEST, self._taken + 1):
            return False
        if self._growth is None:
            return True
        enough = keyframes >= max(_FEWEST_WHOLE, _GROWTH * self._taken) and since_s >= _REST * self._took_s
        return enough or since_s > max(_LATE_S, _LATE * self._took_s)

    # ---- how it goes

    @property
    def stage(self) -> str:
        """What the version at hand is at, for people; "" while none is made."""
        if self._process is not None:
            return self._process.stage
        return "adding keyframes" if self._growth is not None and self._growth.is_at_work else ""

    @property
    def cpu_s(self) -> float:
        """Processor time of all versions."""
        growing_s = 0.0 if self._growth is None else self._growth.cpu_s
        return self._cpu_s + growing_s + (0.0 if self._process is None else self._process.cpu_s)

    def warnings(self) -> list[str]:
        """What versions have warned of since this was asked last, to the end of each."""
        found, self._last_warnings = self._last_warnings, []
        for process in (self._process, None if self._growth is None else self._growth.process):
            while process is not None and process.warnings:  # to which another thread adds
                found.append(process.warnings.pop(0))
        return found

    def close(self) -> None:
        """Give up the version at hand: what is recorded stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._ended = self._started
        if self._growth is not None:
            self._growth.close()


def _not_started(error: OSError) -> Solved:
    return Solved(error=f"no process can be started ({error.strerror})")


class _Growth:
    """The process that adds keyframes, and when it does."""

    def __init__(self, start: Callable[[], GrowingProcess]) -> None:
        self._start = start
        self.process: GrowingProcess | None = None
        self.is_at_work = False
        self._began_s, self._took_s = -float("inf"), 0.0
        self._taken = 0
        self._ended_cpu_s = 0.0

    @property
    def cpu_s(self) -> float:
        return self._ended_cpu_s + (0.0 if self.process is None else self.process.cpu_s)

    def begin(self, keyframes: int, every_s: float) -> None:
        """Where it is time, and something is new."""
        if self.process is None:  # to start one takes seconds
            self.process = self._start()
        now_s = time.monotonic()
        is_time = now_s - self._began_s >= max(every_s, _GROWING_REST * self._took_s)
        if self.is_at_work or not is_time or keyframes < max(_FEWEST, self._taken + FEWEST):
            return
        self.process.begin()
        self.is_at_work, self._began_s, self._taken = True, now_s, keyframes

    def end(self) -> Solved | None:
        """What it has ended with, once."""
        if self.process is None or not self.is_at_work:
            return None
        found = self.process.poll()
        if found is not None:
            self.is_at_work, self._took_s = False, time.monotonic() - self._began_s
            if self.process.has_ended:
                self.close()
        return found

    def close(self) -> None:
        process, self.process, self.is_at_work = self.process, None, False
        if process is not None:
            self._ended_cpu_s += process.cpu_s
            process.kill()
