"""How much of a processor core something takes."""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Share"]

_WINDOW_S = 10.0


class Share:
    """Processor time by wall time, over the last seconds."""

    def __init__(self) -> None:
        self._known: deque[tuple[float, float]] = deque()

    def of(self, cpu_s: float) -> float:
        """The share lately, told how much processor time has been used in all."""
        now_s = time.monotonic()
        self._known.append((now_s, cpu_s))
        while len(self._known) > 2 and self._known[1][0] < now_s - _WINDOW_S:
            self._known.popleft()
        first_s, first_cpu_s = self._known[0]
        return max(0.0, cpu_s - first_cpu_s) / max(now_s - first_s, 1e-3) if len(self._known) > 1 else 0.0
