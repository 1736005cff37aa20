"""Freed memory, given back to the system: the rest of a robot needs it as well."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

__all__ = ["give_back_freed"]

_trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def give_back_freed() -> None:
    """Call this when much has come or gone, a network or a map; it takes milliseconds.

    glibc keeps what was freed, in a pool for each thread, and takes up what comes next in pieces of any of them: a
    process that loads and frees again and again grows without leaking anything. Other C libraries are left alone.
    """
    if _trim is not None:
        _trim(0)
