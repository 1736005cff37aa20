"""Memory of the trainer's process."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of malloc.h
_ENOUGH = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> None:
    """Have this process keep what it frees, where the C library is glibc; elsewhere nothing changes.

    A step allocates and frees some gigabytes, in blocks that malloc would take from the system and give back each time:
    a fifth of a step's time went into clearing their pages. For programs, not for the library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _ENOUGH)
        mallopt(_TOP_PAD, 2**28)
