"""The local part of the recipe: layers 1-7 and both heads, stage after stage; see `recipe.py` for what they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hfnet_core.config import TrainConfig
from hfnet_core.training.data.correspondences import match_correspondences, with_second_neighbours
from hfnet_core.training.data.day_night import with_rooms
from hfnet_core.training.data.local_data import LocalDataSettings, LocalSources
from hfnet_core.training.data.pair_matches import PairMatches, read_pair_matches
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.teacher_keypoints import Teacher, run_teacher
from hfnet_core.training.data.tracks import read_tracks, track_matches, triangulate
from hfnet_core.training.data.wide import WideSettings
from hfnet_core.training.network import HFNet
from hfnet_core.training.peers.correspondence import LightGlueTeacher
from hfnet_core.training.stages.local_stage import LocalLossSettings, LocalStage
from hfnet_core.training.stages.loop import RunSettings, Stage, run_stage
from hfnet_core.training.stages.quantized_stage import QuantizedStage
from hfnet_core.training.start import load_local_part
from hfnet_core.training.teachers.turned import TurnedTeacher

__all__ = ["RecipeRun", "teacher_report", "train_local"]

_TURN_DEG = 60.0  # two crops of a photo then differ by 41 degrees (standard deviation) instead of 21
_GENTLE_TURN_DEG = 45.0
_WIDE_SCALE = (0.45, 1.6)  # of crops of two overlapping photos: both together differ by up to 3.5
_OTHER_LIGHT = 0.3  # share of crops
_OWN = "own"
_OWN_SCALE, _OWN_TILT = (0.6, 1.8), 2.6
_OWN_POINTS, _OWN_UNWARPED = 192, 0.3
_MEAN_OF = 500  # steps
_MEASURED = 60  # photos on which the batch norms of a model file are measured
_TEACHER_REPORTS_S = 8.0  # between two lines about the teacher


class RecipeRun(NamedTuple):
    """What the stages of one run are trained with."""

    pool: Pool
    output: Path
    config: TrainConfig
    make_teacher: Callable[[], Teacher]
    report: Callable[[str], None]


def train_local(what: RecipeRun, network: HFNet, start: Path | None) -> None:
    """The stages of the local part in order, from a model file `start` or from nothing. Raises DatasetError."""
    pool, output, config, _, report = what

    def run(stage: Stage, minutes: float, rate: float, seed: int) -> None:
        # Rounding to bfloat16 would hide what is learned of rounding to eight bits.
        bf16_until = 0.0 if isinstance(stage, QuantizedStage) else RunSettings.bf16_until
        settings = RunSettings(
            minutes=minutes,
            learning_rate=rate,
            seed=seed,
            workers=config.workers,
            bf16_until=bf16_until,
            mean_of=_MEAN_OF if stage.name == _OWN else 0,
            processor_time=config.processor_time,
        )
        run_stage(stage, network, settings, output / stage.name, config.device, report)

    crops = LocalDataSettings(pairs=config.pairs, crop_px=config.crop_px)
    if start is None:
        _train_from_nothing(what, crops, run)
    else:
        every = max(len(pool.photos) // _MEASURED, 1)
        load_local_part(network, start, (read_gray(photo.path) for photo in pool.photos[::every]))
    if config.wide_minutes:
        run(_wide_stage(what, crops), config.wide_minutes, config.wide_learning_rate, config.seed + 4)
    if config.own_minutes:
        run(_own_stage(what, crops), config.own_minutes, config.own_learning_rate, config.seed + 6)
    if config.quantized_minutes:
        stage = QuantizedStage(LocalSources(pool, output / "teacher"), crops)
        run(stage, config.quantized_minutes, config.quantized_learning_rate, config.seed + 5)


def _train_from_nothing(
    what: RecipeRun, crops: LocalDataSettings, run: Callable[[Stage, float, float, int], None]
) -> None:
    pool, output, config, _, report = what
    sources = LocalSources(pool, output / "teacher")
    run(LocalStage(sources, crops), config.local_minutes, config.local_learning_rate, config.seed)
    matches = read_pair_matches(pool, output / "matches")
    report(f"polish: {len(matches)} of {len(pool.pairs)} pairs of photos are of use")
    sources = _with_tracks(what, sources._replace(matches=matches))

    def exact(name: str, data: LocalDataSettings) -> LocalStage:
        return LocalStage(sources, data, LocalLossSettings(learned=True), name)

    turned = replace(
        crops,
        crops=replace(crops.crops, rotation_deg=_TURN_DEG),
        gentle=replace(crops.gentle, rotation_deg=_GENTLE_TURN_DEG),
    )
    run(exact("polish", crops), config.polish_minutes, config.polish_learning_rate, config.seed + 1)
    run(exact("finish", crops), config.finish_minutes, config.finish_learning_rate, config.seed + 2)
    run(exact("turn", turned), config.turn_minutes, config.turn_learning_rate, config.seed + 3)


def _wide_stage(what: RecipeRun, crops: LocalDataSettings) -> LocalStage:
    pool, output, config, make_teacher, report = what
    matches = [*read_pair_matches(pool, output / "matches"), *_correspondences(what)]
    if config.turned_labels:
        labels, make_teacher = output / "teacher_turned", lambda: TurnedTeacher(what.make_teacher())
        run_teacher(make_teacher, pool, labels, teacher_report(report, "photos, in four turns"))
    else:
        labels = output / "teacher"
    sources = _with_tracks(what, LocalSources(pool, labels, matches), wider=config.correspondences)
    rooms = output / "rooms"
    larger = with_rooms(pool, rooms, config.night_rooms, config.seed, teacher_report(report, "rooms"))
    run_teacher(make_teacher, larger, labels)
    seen = read_pair_matches(Pool(larger.photos, larger.pairs[len(pool.pairs) :]), rooms)
    sources = sources._replace(pool=larger, matches=[*sources.matches, *seen])
    gentle = replace(crops.gentle, scale=_WIDE_SCALE, rotation_deg=_GENTLE_TURN_DEG)
    data = replace(crops, wide=WideSettings(), other_light=_OTHER_LIGHT, gentle=gentle)
    return LocalStage(sources, data, LocalLossSettings(learned=True), "wide")


def _own_stage(what: RecipeRun, crops: LocalDataSettings) -> LocalStage:
    pool, output, config, _, _ = what
    sources = LocalSources(
        pool, output / "teacher", [*read_pair_matches(pool, output / "matches"), *_correspondences(what)]
    )
    data = replace(
        crops,
        points=_OWN_POINTS,
        unwarped=_OWN_UNWARPED,
        crops=replace(crops.crops, rotation_deg=_TURN_DEG, scale=_OWN_SCALE, tilt=_OWN_TILT),
        gentle=replace(crops.gentle, rotation_deg=_GENTLE_TURN_DEG),
    )
    losses = LocalLossSettings(learned=True, own_keypoints=config.own_keypoints)
    return LocalStage(_with_tracks(what, sources, wider=config.correspondences), data, losses, _OWN)


def _correspondences(what: RecipeRun) -> list[PairMatches]:
    """Where it is asked for: what LightGlue finds and geometry confirms, in wider pairs than the pool's own too."""
    pool, output, config, _, report = what
    if not config.correspondences:
        return []

    def matcher() -> LightGlueTeacher:
        return LightGlueTeacher(config.correspondence_keypoints, config.correspondence_side_px)

    wider, found = with_second_neighbours(pool), output / "correspondences"
    match_correspondences(matcher, wider, found, teacher_report(report, "correspondences"))
    verified = read_pair_matches(wider, found)
    report(f"correspondences: {len(verified)} of {len(wider.pairs)} pairs of photos have correspondences")
    return verified


def _with_tracks(what: RecipeRun, sources: LocalSources, *, wider: bool = False) -> LocalSources:
    """Where it is asked for: keypoints of tracks where their points lie, in labels and in pairs that see them. wider:
    whether LightGlue's matches are among those of the sources."""
    pool, output, config, _, report = what
    if not config.tracks:
        return sources
    folder = output / ("tracks_of_correspondences" if wider else "tracks")  # of other matches they are others
    triangulate(pool, sources.matches, folder, teacher_report(report, "sequences"))
    tracks = read_tracks(pool, folder)
    exact = track_matches(pool, tracks)
    count = sum(len(of_photo.point) for of_photo in tracks.values())
    report(f"tracks: {count} keypoints of {len(tracks)} photos, {len(exact)} pairs of photos")
    return sources._replace(matches=[*sources.matches, *exact], tracks=tracks)


def teacher_report(report: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    """Tells how far a pass over the pool is, now and then."""
    last = -_TEACHER_REPORTS_S

    def now_and_then(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _TEACHER_REPORTS_S or done == total:
            last = time.monotonic()
            report(f"teacher: {done} of {total} {what}")

    return now_and_then
