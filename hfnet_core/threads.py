"""Threads: of numerical libraries, and our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread", "side_by_side"]

T = TypeVar("T")
U = TypeVar("U")


def one_blas_thread() -> None:
    """Keep matrix products of this process on one thread.

    Ours are small: a second thread gains little on an idle machine, and on a busy one its spinning takes the time that
    the network needs. For programs, not for the library: an application that embeds us decides for itself.
    """
    threadpool_limits(1, user_api="blas")


def side_by_side(work: Callable[[T], U], items: Sequence[T], at_once: int) -> list[U]:
    """What `work` makes of each item, in order, on so many threads. Raises what the first item that failed raised."""
    at_once = min(at_once, len(items))
    if at_once < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))
