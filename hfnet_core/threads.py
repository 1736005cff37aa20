"""Threads of numerical libraries."""

from threadpoolctl import threadpool_limits

__all__ = ["one_blas_thread"]


def one_blas_thread() -> None:
    """Keep matrix products of this process on one thread.

    Ours are small: a second thread gains little on an idle machine, and on a busy one its spinning takes the time that
    the network needs. For programs, not for the library: an application that embeds us decides for itself.
    """
    threadpool_limits(1, user_api="blas")
