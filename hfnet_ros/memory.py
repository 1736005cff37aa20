"""Freed memory, given back to the system: the rest of a robot needs it as well."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["Tidier", "give_back_freed"]

_GROWN, _GROWN_BYTES = 0.05, 16 << 20  # more than that since last time is worth the milliseconds
_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back_freed() -> None:
    """Call this when much has come or gone, a network or a map; it takes milliseconds.

    glibc keeps what was freed, in a pool for each thread, and takes up what comes next in pieces of any of them: a
    process that loads and frees again and again grows without leaking anything. Other C libraries are left alone.
    """
    if _trim is not None:
        _trim(0)


class Tidier:
    """Gives back what was freed whenever the process has grown since last time: what comes and goes in many threads,
    images, requests, maps, leaves its pools full of holes, and nothing else ever closes them."""

    def __init__(self) -> None:
        self._last_bytes = 0

    def tidy(self) -> None:
        """Call this now and then."""
        now_bytes = _resident_bytes()
        if now_bytes > self._last_bytes + max(_GROWN * self._last_bytes, _GROWN_BYTES):
            give_back_freed()
            self._last_bytes = _resident_bytes()


def _resident_bytes() -> int:
    """0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
