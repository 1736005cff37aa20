"""Pairs of images and their matches, from hloc's file of features to hloc's files of pairs and matches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.checking import Entered, checked_features, global_of
from hfnet_core.features.exchange.hloc_files import HlocFile
from hfnet_core.features.exchange.hloc_writing import append_matches
from hfnet_core.front_ends.matchers import Matcher
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Float32

__all__ = ["Asked", "export_matches", "retrieved_names"]


@dataclass(frozen=True)
class Asked:
    """Which images ask which: names that start with queries ask those that start with database; "" for all."""

    queries: str = ""
    database: str = ""


def retrieved_names(features: Path, count: int, asked: Asked | None = None) -> list[tuple[str, str]]:
    """Each query with the `count` images of the most similar global descriptors, most similar first, not with itself.

    Raises DatasetError where the file has no global descriptors.
    """
    asked = asked or Asked()
    with HlocFile(features) as stored:
        names = [name for name in stored.names() if "global_descriptor" in stored.keys(name)]
        rows = [global_of(stored.global_descriptor(name), f"{features}: {name}") for name in names]
    if not rows or len({len(row) for row in rows}) != 1:
        raise DatasetError(f"{features}: holds no global descriptors of one size; export them, or give --pairs")
    table = np.stack(rows)
    database = np.array([index for index, name in enumerate(names) if name.startswith(asked.database)], np.int64)
    out = []
    for index, name in enumerate(names):
        if name.startswith(asked.queries):
            order = np.argsort(-(table[database] @ table[index]), kind="stable")
            others = [int(other) for other in database[order] if other != index]
            out += [(name, names[other]) for other in others[:count]]
    if not out:
        raise DatasetError(f"{features}: no image is called {asked.queries}..., or none {asked.database}...")
    return out


def export_matches(
    features: Path, pairs: Sequence[tuple[str, str]], output: Path, match: Matcher, progress: Progress = silent
) -> int:
    """Match pairs of images by their features in a file and append the matches to another. Returns how many pairs.

    A pair that is listed in both orders is matched once. Raises DatasetError where an image has no features.
    """
    distinct = list({tuple(sorted(pair)): pair for pair in reversed(pairs)}.values())[::-1]
    with HlocFile(features) as stored:

        def matched() -> Iterator[tuple[tuple[str, str], int, NDArray[np.int32], Float32]]:
            known: dict[str, Entered] = {}
            for done, (first, second) in enumerate(distinct, start=1):
                one, other = (known.get(name) or _entered(stored, name) for name in (first, second))
                known = {first: one, second: other}  # pairs of one query follow each other
                found, scores = match(one.features, other.features)
                numbers = np.stack([one.order[found[:, 0]], other.order[found[:, 1]]], axis=1).astype(np.int32)
                yield (first, second), one.stored, numbers, scores
                progress("matching images", done, len(distinct))

        return append_matches(output, matched())


def _entered(stored: HlocFile, name: str) -> Entered:
    size = stored.size(name)
    if size is None:
        raise DatasetError(f"{stored.path}: {name} has no image_size")
    return checked_features(stored.features(name), size, f"{stored.path}: {name}")
