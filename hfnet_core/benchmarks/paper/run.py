"""A dataset from the download to its results."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hfnet_core.benchmarks.datasets.dataset import Dataset, Place
from hfnet_core.benchmarks.datasets.lists import read_results
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.gallery import GalleryMaker
from hfnet_core.benchmarks.paper.place_run import Extractors, PlaceRun
from hfnet_core.benchmarks.paper.presets import Preset
from hfnet_core.benchmarks.paper.report import log_of, write_log, write_result_file
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.evaluation.query_list import write_query_list
from hfnet_core.files import make_folder
from hfnet_core.progress import Progress, silent

__all__ = ["Options", "Outcome", "alone_in", "run_dataset"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """places, conditions: those wanted; empty for all that are there. method: in the name of the file of results.
    fallback: submit the pose of the most similar map image where none was found. truth: a file of
    `NAME qw qx qy qz tx ty tz` lines, for datasets that tell none. pictures: of each kind and condition."""

    places: Sequence[str] = ()
    conditions: Sequence[str] = ()
    method: str = "hfnet"
    fallback: bool = False
    truth: Path | None = None
    pictures: int = 8


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run leaves behind. results: file for the benchmark's server. log: YAML. gallery: HTML."""

    answers: Sequence[QueryAnswer]
    log: dict[str, Any]
    results: Path
    log_file: Path
    gallery: Path | None


def run_dataset(
    dataset: Dataset,
    output: Path,
    preset: Preset,
    extractors: Extractors,
    options: Options | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Map every place, localize its queries, and write results, log and gallery into `output`.

    A run that was ended goes on where it was. Raises ConfigError for places or conditions that are not there,
    DatasetError for what is missing or damaged as a whole; single images are lines in the log.
    """
    make_folder(output)
    with alone_in(output):
        return _run(dataset, output, _Tools(preset, extractors, progress), options or Options())


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """No other run works in the folder meanwhile. Raises ConfigError where one does."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = "another run is writing there; wait for it or choose another folder"
            raise ConfigError(f"{folder}: {said}") from error
        except OSError:  # a file system without locks: nobody can tell
            _log.info("%s: cannot be locked", folder)
        yield
    finally:
        os.close(handle)


@dataclass(frozen=True, eq=False)
class _Tools:
    """What a run works with."""

    preset: Preset
    extractors: Extractors
    progress: Progress


def _run(dataset: Dataset, output: Path, tools: _Tools, options: Options) -> Outcome:
    preset, extractors, progress = tools.preset, tools.extractors, tools.progress
    answers: list[QueryAnswer] = []
    gallery = GalleryMaker(dataset, options.pictures)
    for place in _places(dataset, options):
        folder = output / (place.name.replace("/", "-") or "all")
        run = PlaceRun(place, folder, preset, extractors, progress)
        for condition in dict.fromkeys(query.condition for query in place.queries):
            listed = [(query.name, query.camera) for query in place.queries if query.condition == condition]
            write_query_list(folder / f"{condition.replace('/', '-')}_queries_with_intrinsics.txt", listed)
        own = run.answers()
        answers += own
        gallery.add(run, own, progress)
    info = extractors.of_queries.info
    model = f"{info.name} {info.version}"
    log = log_of(dataset, preset, answers, fallback=options.fallback, model=model)
    results, log_file = output / dataset.result_name(options.method), output / "log.yaml"
    write_result_file(results, answers, fallback=options.fallback)
    write_log(log_file, log)
    return Outcome(answers, log, results, log_file, gallery.write(output / "gallery.html", log))


def _places(dataset: Dataset, options: Options) -> Iterator[Place]:
    """Each with the queries that are wanted."""
    known = dataset.places()
    unknown = [name for name in options.places if name not in known]
    if unknown:
        raise ConfigError(f"{dataset.title} has no place {unknown[0]!r} here; there are {', '.join(known)}")
    opened = [dataset.open(name) for name in options.places or known]
    conditions = list(dict.fromkeys(query.condition for place in opened for query in place.queries))
    strange = [name for name in options.conditions if name not in conditions]
    if strange:
        raise ConfigError(f"{dataset.title} has no condition {strange[0]!r} here; there are {', '.join(conditions)}")
    truth = read_results(options.truth) if options.truth is not None else {}
    told = 0
    for place in opened:
        wanted = [q for q in place.queries if not options.conditions or q.condition in options.conditions]
        queries = [replace(q, truth=truth.get(q.name, truth.get(q.submitted, q.truth))) for q in wanted]
        told += sum(query.truth is not None for query in queries)
        if queries:
            yield replace(place, queries=queries)
    if truth and not told:
        raise DatasetError(f"{options.truth}: names none of the queries")
