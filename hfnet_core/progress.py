"""How long work tells how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

__all__ = ["Progress", "ProgressLines", "silent"]

_OFTEN_S = 8.0  # between two lines: work tells how far it is at least every ten seconds


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""


def silent(stage: str, done: int, total: int) -> None:
    """No progress wanted."""


class ProgressLines:
    """A `Progress` that says a line every few seconds while it is open, however long a single step takes.

    report: takes the lines, from a thread of its own. A total of 0 is one that is not known.
    """

    def __init__(self, report: Callable[[str], None], every_s: float = _OFTEN_S) -> None:
        self._report, self._every_s = report, every_s
        self._state: tuple[str, int, int] | None = None
        self._started_s: dict[str, float] = {}  # two stages may go on side by side
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._started_s.setdefault(stage, time.monotonic())
        self._state = (stage, done, total)

    def __enter__(self) -> ProgressLines:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            if self._state is not None:
                stage, done, total = self._state
                amount = f"{done} of {total}" if total else f"{done}"
                self._report(f"{stage}: {amount}, {time.monotonic() - self._started_s[stage]:.0f} s")
