"""Matching many pairs of keyframes: remembered in the workplace, computed by its workers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.mapping.matching import match_descriptors
from hfnet_core.mapping.recording import Keyframe
from hfnet_core.mapping.workers import Done, Pending, in_order
from hfnet_core.mapping.workplace import Workplace, key_of

__all__ = ["match_pairs"]

Pair = tuple[int, int]
Found = list[NDArray[np.int32]]


def match_pairs(
    keyframes: Sequence[Keyframe], pairs: Sequence[Pair], ratio: float, workplace: Workplace
) -> Iterator[tuple[Pair, NDArray[np.int32]]]:
    """Each pair with its matches (see `match_descriptors`), sorted. All pairs of a first keyframe are one task."""
    workers = workplace.workers
    shared: dict[int, Any] = {}

    def descriptors(index: int) -> Any:
        if index not in shared:
            shared[index] = workers.share(keyframes[index].features.descriptors)
        return shared[index]

    def started() -> Iterator[tuple[tuple[list[Pair], str], Pending[Found]]]:
        for first, group in itertools.groupby(sorted(pairs), key=lambda pair: pair[0]):
            mine = list(group)
            names = [keyframes[index].key for index in (first, *(second for _, second in mine))]
            key = key_of(ratio, *names) if all(names) else ""
            known = workplace.load_matches(key) if key else None
            if known is not None:
                yield (mine, ""), Done(known)
            else:
                others = [descriptors(second) for _, second in mine]
                yield (mine, key), workers.submit(_match, descriptors(first), others, ratio)

    for (mine, key), found in in_order(workers, started()):
        if key:
            workplace.store_matches(key, found)
        yield from zip(mine, found, strict=True)


def _match(own: NDArray[np.float32], others: Sequence[NDArray[np.float32]], ratio: float) -> Found:
    return [match_descriptors(own, other, ratio) for other in others]
