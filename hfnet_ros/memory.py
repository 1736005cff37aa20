"""Freed memory, given back to the system: the rest of a robot needs it as well."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["few_pools", "give_back_freed"]

_POOLS = 2  # threads of Python hardly ever allocate at the same time
_M_ARENA_MAX = -8  # malloc.h
_library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
_trim: Any = getattr(_library, "malloc_trim", None)


def few_pools() -> None:
    """Let threads share two pools of memory, not eight for each core: what is freed lies less scattered.

    For programs, before they start threads; where the C library is glibc, which alone has `malloc_trim`.
    """
    if _trim is not None:
        _library.mallopt(_M_ARENA_MAX, _POOLS)


def give_back_freed() -> None:
    """Call this when much has come or gone, a network or a map; it takes milliseconds.

    glibc keeps what was freed, in a pool for each thread, and takes up what comes next in pieces of any of them: a
    process that loads and frees again and again grows without leaking anything. Other C libraries are left alone.
    """
    if _trim is not None:
        _trim(0)
