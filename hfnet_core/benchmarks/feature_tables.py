"""What `hfnet bench features` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from hfnet_core.benchmarks.feature_bench import FrontEndScores
from hfnet_core.benchmarks.retrieval_metrics import RetrievalScores
from hfnet_core.evaluation.depth_sequence import Overlaps

__all__ = ["depth_table", "planar_table", "retrieval_tables", "time_table"]


def planar_table(scores: Sequence[FrontEndScores]) -> Table:
    table = Table(title="Planar sequences: mean matching accuracy at 1/3/5 px, repeatability and homography at 3 px")
    for column in ("front end", "sequence", "MMA@1", "MMA@3", "MMA@5", "repeat.", "error px", "homography"):
        table.add_column(column, justify="left" if column in ("front end", "sequence") else "right")
    for score in scores:
        rows = [
            (name, [*h.accuracy, h.repeatability, h.localization_error_px, h.homography_accuracy])
            for name, h in score.homographies.items()
        ]
        mean = [sum(values[i] for _, values in rows) / len(rows) for i in range(6)]
        for name, values in [*rows, ("mean", mean)]:
            table.add_row(score.name, name, *(f"{value:.3f}" for value in values), end_section=name == "mean")
    return table


def depth_table(scores: Sequence[FrontEndScores]) -> Table:
    table = Table(
        title="Relocalization with given landmarks",
        caption="share of query frames, mean over seeds of RANSAC and standard deviation between them",
    )
    for column in ("front end", "5cm/2°", "10cm/5°", "25cm/5°", "median"):
        table.add_column(column, justify="left" if column == "front end" else "right")
    for score in scores:
        found, relocalization = score.relocalization, ["-"] * 4
        if found is not None:
            recall = zip(found.recall, found.deviation, strict=True)
            relocalization = [f"{mean:.1%} ±{100 * deviation:.1f}" for mean, deviation in recall]
            relocalization.append(f"{found.median_m * 100:.1f} cm {found.median_deg:.2f}°")
        table.add_row(score.name, *relocalization)
    return table


def retrieval_tables(scores: Sequence[FrontEndScores]) -> Iterator[Table]:
    """One per reading of unknown depth; only one where all depth is known."""
    measured = {score.name: score.retrieval for score in scores if score.retrieval}
    printed: list[dict[str, RetrievalScores]] = []
    for reading in Overlaps._fields:
        found = {name: by_reading[reading] for name, by_reading in measured.items() if reading in by_reading}
        if found and found not in printed:
            printed.append(found)
            yield _retrieval_table(found, reading.replace("_", " "))


def _retrieval_table(found: dict[str, RetrievalScores], reading: str) -> Table:
    one = next(iter(found.values()))  # all are asked the same
    counts = sorted(one.plain.among)
    among = "+N: also among N images of other places; " if counts else ""
    table = Table(
        title=f"Retrieval: map images with at least half of the view in common, points without depth {reading}",
        caption=f"{one.queries} queries, by chance R@1 {one.chance_1:.1%}; {among}adapted: averaged over map images "
        "with a common view, as in a map; SIFT: a VLAD of 32 words of its own",
    )
    for column in (
        "front end",
        "descriptors",
        "R@1",
        "R@5",
        *(f"+{count:,} {at}" for count in counts for at in ("R@1", "R@5")),
    ):
        table.add_column(column, justify="left" if column in ("front end", "descriptors") else "right")
    for name, scores in found.items():
        for kind, recalls in (("as they are", scores.plain), ("adapted", scores.adapted)):
            asked = (recalls.alone, *(recalls.among[count] for count in counts))
            shares = [f"{share:.1%}" for recall in asked for share in (recall.at_1, recall.at_5)]
            table.add_row(name, kind, *shares, end_section=kind == "adapted")
    return table


def time_table(scores: Sequence[FrontEndScores]) -> Table:
    """Processor time and its ratio to the first of them."""
    table = Table(
        title=f"Time, in milliseconds and as a multiple of {scores[0].name}'s",
        caption="medians of processor time, all threads together: what else the machine does counts little",
    )
    for column in ("front end", "features of an image", "matching a pair"):
        table.add_column(column, justify="left" if column == "front end" else "right")
    first = scores[0]
    for score in scores:
        columns = ((score.extraction_s, first.extraction_s), (score.matching_s, first.matching_s))
        table.add_row(score.name, *(f"{own * 1e3:.1f} ({own / other:.2f})" for own, other in columns))
    return table
