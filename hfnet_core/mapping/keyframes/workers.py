"""Who computes: this process, or the workers of a Dask cluster (the extra `distributed`).

A build hands out pure functions, extraction of one image and matching of one keyframe, and takes their results in
order. So the map does not depend on who computed what, as long as all processors round alike.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hfnet_core.errors import ConfigError
from hfnet_core.extras import needed
from hfnet_core.version import __version__

__all__ = ["HERE", "Done", "Pending", "Workers", "in_order", "open_workers"]

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
_AHEAD = 4  # tasks handed out to each worker before the first of them is back
_PATIENCE_S = 20  # for a scheduler or a first worker


class Pending(Protocol[R_co]):
    """A result that may not be there yet."""

    def result(self) -> R_co: ...


@dataclass(frozen=True)
class Done(Generic[R]):
    """A result that is there."""

    value: R

    def result(self) -> R:
        return self.value


class Workers(Protocol):
    """ahead: how many tasks may be under way."""

    @property
    def ahead(self) -> int: ...

    def share(self, value: Any) -> Any:
        """Something that many tasks take as an argument, sent once. Tasks get the value itself."""

    def submit(self, function: Callable[..., R], *arguments: Any) -> Pending[R]:
        """Have a pure function computed; arguments and lists in them may hold what was shared."""


class _Here:
    """At once, in this process."""

    ahead = 0

    def share(self, value: Any) -> Any:
        return value

    def submit(self, function: Callable[..., R], *arguments: Any) -> Pending[R]:
        return Done(function(*arguments))


HERE: Workers = _Here()


class _Dask:
    def __init__(self, client: Any) -> None:
        self._client = client
        self.ahead = _AHEAD * max(1, sum(client.nthreads().values()))

    def share(self, value: Any) -> Any:
        return self._client.scatter(value, hash=False)

    def submit(self, function: Callable[..., R], *arguments: Any) -> Pending[R]:
        pending: Pending[R] = self._client.submit(function, *arguments, pure=False)
        return pending


def in_order(workers: Workers, started: Iterable[tuple[T, Pending[R]]]) -> Iterator[tuple[T, R]]:
    """Each thing with its result, in order; at most `workers.ahead` later ones are started before it is there."""
    waiting: deque[tuple[T, Pending[R]]] = deque()
    for item in started:
        waiting.append(item)
        if len(waiting) > workers.ahead:
            thing, pending = waiting.popleft()
            yield thing, pending.result()
    for thing, pending in waiting:
        yield thing, pending.result()


@contextmanager
def open_workers(scheduler: str | None = None, count: int = 0) -> Iterator[Workers]:
    """The workers of a Dask scheduler at an address, or `count` processes on this machine, or this process alone.

    Raises MissingExtraError without Dask, ConfigError when nobody answers or a worker has another version of us.
    """
    if scheduler is None and count == 0:
        yield HERE
        return
    if scheduler is not None and count:
        raise ConfigError("give the address of a scheduler or a number of workers here, not both")
    distributed = needed("distributed")
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with _cluster(distributed, count) as address, _client(distributed, scheduler or address) as client:
        try:
            yield _Dask(client)
        except (distributed.KilledWorker, distributed.CancelledError) as error:
            name = scheduler or address
            raise ConfigError(f"{name}: workers were lost ({type(error).__name__}); build again") from error


@contextmanager
def _cluster(distributed: Any, count: int) -> Iterator[Any]:
    if not count:
        yield None
        return
    with distributed.LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_PATIENCE_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"{address}: no Dask scheduler answers; is `dask scheduler` running there?") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE_S)
            versions = client.run(_version)
        except TimeoutError as error:
            raise ConfigError(f"{address}: the scheduler has no workers; start `dask worker {address}`") from error
        except ImportError as error:
            raise ConfigError(f"{address}: a worker lacks hfnet_core ({error}); install this version there") from error
        for worker, version in versions.items():
            if version != __version__:
                raise ConfigError(f"{worker}: has hfnet_core {version}, this is {__version__}; install the same")
        yield client


def _version() -> str:
    return __version__
