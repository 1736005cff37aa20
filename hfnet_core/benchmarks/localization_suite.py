"""`hfnet bench localize`: one front end from recordings to figures, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hfnet_core.benchmarks import localization_bench as bench
from hfnet_core.benchmarks.hloc_style import map_images
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.evaluation.metrics import Spread
from hfnet_core.evaluation.report import rows as score_rows
from hfnet_core.files import written_whole
from hfnet_core.front_ends.registry import FrontEndSetup, front_end
from hfnet_core.images.reading import read_image
from hfnet_core.mapping.builder import build_map
from hfnet_core.recordings.options import BagOptions

__all__ = ["Options", "Suite", "run", "show", "write_json"]


@dataclass(frozen=True)
class Options:
    """keypoints: per query image. model, aliked: weights. foreign: folder of images from elsewhere, or None.
    recording: what there is to tell about both bags. query_features: where the front end's features of the queries are
    other files than those of the map.
    """

    keypoints: int = 1000
    model: Path | None = None
    aliked: Path | None = None
    foreign: Path | None = None
    foreign_count: int = 500
    recording: BagOptions = field(default_factory=BagOptions)
    query_features: str = ""

    def setup(self, config: ExtractorConfig, backend: str = "auto") -> FrontEndSetup:
        """What a front end is made with."""
        weights = {} if self.aliked is None else {"aliked": self.aliked}
        return FrontEndSetup(config, self.model, backend, weights=weights)


@dataclass(frozen=True, eq=False)
class Suite:
    """Everything measured of one front end. extraction_s: features of a query image, its retrieval included."""

    front_end: str
    keyframes: int
    landmarks: int
    queries: int
    extraction_s: Spread | None
    runs: Sequence[bench.Run]
    rate: bench.Rate
    kidnapping: bench.Kidnapping
    foreign: bench.ForeignImages | None


def run(
    name: str, map_bag: Path, query_bag: Path, options: Options, progress: Callable[[str], None] = lambda _: None
) -> Suite:
    """Build the map with a front end and localize the queries in every way."""
    mapping = front_end(name, options.setup(MapBuildConfig().extraction, "onnxruntime"))
    source = front_end(options.query_features or name, options.setup(ExtractorConfig(max_keypoints=options.keypoints)))
    progress(f"{name}: map")
    found = build_map([map_bag], mapping, options=options.recording)
    images = map_images(found, map_bag, mapping, options.recording)
    progress(f"{name}: features of the queries")
    queries = bench.read_queries(query_bag, source, options.recording)
    ways = {
        "global": bench.globally(found),
        "tracking": bench.tracking(found),
        "hloc-style": bench.hloc_style(found, images),
    }
    runs = []
    for title, way in ways.items():
        progress(f"{name}: {title}")
        runs.append(bench.measure(title, queries, way))
    progress(f"{name}: sustained rate, kidnapping, foreign images")
    foreign = None
    if options.foreign is not None:
        elsewhere = bench.foreign_images(options.foreign, options.foreign_count, read_image)
        foreign = bench.evaluate_foreign(found, elsewhere, source, None)
    return Suite(
        name,
        found.keyframes,
        found.landmarks,
        len(queries),
        Spread.of([query.extraction_s for query in queries]),
        runs,
        bench.sustained_rate(found, query_bag, source, options.recording),
        bench.evaluate_kidnapping(found, queries),
        foreign,
    )


def show(suite: Suite, console: Console) -> None:
    """Print the table and what does not fit into it."""
    title = f"{suite.front_end}: {suite.keyframes} keyframes, {suite.landmarks} landmarks, {suite.queries} queries"
    if suite.extraction_s is not None:
        title += f", features {suite.extraction_s.p50 * 1e3:.0f} ms"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for one in suite.runs:
        table.add_column(one.name, justify="right")
    scores = [dict(score_rows(one.score)) for one in suite.runs]
    for label in dict.fromkeys(label for rows in scores for label in rows):
        table.add_row(label, *(rows.get(label, "-") for rows in scores))
    for stage in dict.fromkeys(stage for one in suite.runs for stage in one.stages_s):
        table.add_row(f"  {stage}, p50 / p95 / p99", *(_milliseconds(one.stages_s.get(stage)) for one in suite.runs))
    for reason in dict.fromkeys(reason for one in suite.runs for reason in one.refusals):
        table.add_row(f"  refused: {reason}", *(str(one.refusals.get(reason, 0)) for one in suite.runs))
    table.add_row("times as fast as hloc-style (p50)", *(_factor(one, suite.runs[-1]) for one in suite.runs))
    console.print(table)
    console.print(f"images, features and tracking one after the other: {suite.rate.per_s:.1f} images/s")
    cut = suite.kidnapping
    console.print(
        f"cut into pieces: right within two images of {cut.recovered} of {cut.cuts} cuts, {cut.wrong} wrong poses"
    )
    if suite.foreign is not None:
        refusals = ", ".join(f"{count}: {reason}" for reason, count in suite.foreign.refusals.items())
        console.print(f"images from elsewhere: {suite.foreign.accepted} of {suite.foreign.images} accepted; {refusals}")


def write_json(path: Path, suites: Sequence[Suite]) -> None:
    """All figures, seconds and metres. Raises DatasetError when the file cannot be written."""
    content: list[dict[str, Any]] = []
    for suite in suites:
        figures = asdict(suite)
        figures["runs"] = {one.name: {**asdict(one), "score": one.score.to_json()} for one in suite.runs}
        figures["rate"]["per_s"] = suite.rate.per_s
        content.append(figures)
    written_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _milliseconds(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.p50 * 1e3:.1f} / {spread.p95 * 1e3:.1f} / {spread.p99 * 1e3:.1f} ms"


def _factor(one: bench.Run, baseline: bench.Run) -> str:
    if one.latency_s is None or baseline.latency_s is None:
        return "-"
    return f"{baseline.latency_s.p50 / one.latency_s.p50:.1f}"
