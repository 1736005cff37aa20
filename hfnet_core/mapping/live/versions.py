"""When a version of the map is made of what was recorded so far, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hfnet_core.mapping.live.solver_process import Solved, SolverProcess

__all__ = ["MapVersions"]

_FEWEST = 5  # keyframes of a first version that nobody asked for


class MapVersions:
    """One version after the other, each in a process of its own; `tick` has to be called now and then."""

    def __init__(
        self,
        folder: Path,
        output: Path,
        every_s: float,
        start: Callable[[Path, Path], SolverProcess] = SolverProcess,
    ) -> None:
        """every_s: between the beginnings of two; 0 makes those only that are asked for. start: makes a process."""
        self._folder, self._output, self._start = folder, output, start
        self.every_s = every_s
        self.newest: Solved | None = None
        """The newest version made since the beginning."""
        self.made = 0
        """How many."""
        self.newest_s: float | None = None
        """When the newest was made, as time.monotonic()."""
        self._process: SolverProcess | None = None
        self._last_warnings: list[str] = []
        self._began_s = -float("inf")
        self._asked = self._started = self._ended = 0  # numbers of attempts
        self._taken = 0  # keyframes that the last attempt began with
        self._cpu_s = 0.0

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
        if self._process is None:
            return self._begin(keyframes)
        found = self._process.poll()
        if found is None:
            return None
        self._cpu_s += self._process.cpu_s
        self._last_warnings += self._process.warnings
        self._process, self._ended = None, self._started
        if not found.error:
            self.newest, self.newest_s, self.made = found, time.monotonic(), self.made + 1
        return found

    def _begin(self, keyframes: int) -> Solved | None:
        asked = self._asked > self._started
        if asked and self.newest is not None and self._taken == keyframes == self.newest.keyframes:
            self._started = self._ended = self._asked  # it is made already
            return self.newest
        is_time = self.every_s > 0 and time.monotonic() - self._began_s >= self.every_s
        if not asked and not (is_time and keyframes >= _FEWEST and keyframes > self._taken):
            return None
        self._started, self._taken, self._began_s = self._started + 1, keyframes, time.monotonic()
        self._process = self._start(self._folder, self._output)
        return None

    # ---- how it goes

    @property
    def stage(self) -> str:
        """What the version at hand is at, for people; "" while none is made."""
        return "" if self._process is None else self._process.stage

    @property
    def cpu_s(self) -> float:
        """Processor time of all versions."""
        return self._cpu_s + (0.0 if self._process is None else self._process.cpu_s)

    def warnings(self) -> list[str]:
        """What versions have warned of since this was asked last, to the end of each."""
        found, self._last_warnings = self._last_warnings, []
        if self._process is not None:
            while self._process.warnings:  # to which another thread adds
                found.append(self._process.warnings.pop(0))
        return found

    def close(self) -> None:
        """Give up the version at hand: what is recorded stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._ended = self._started
