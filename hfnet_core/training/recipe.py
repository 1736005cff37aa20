"""The whole recipe, from a pool of photos to an ONNX file: what `hfnet train` does.

    teacher    keypoints of every photo, matches of every pair  OUTPUT/{teacher, matches}/*.npz
    local      layers 1-7 and the local heads, crops of single  OUTPUT/local/{checkpoint.pt, log.csv}
               photos, fixed weights of the losses
    polish     the same, overlapping photos among them, learned OUTPUT/polish/
               weights, keypoints exact below the pixel
    finish     the same from a lower learning rate              OUTPUT/finish/
    turn       the same with crops turned much further, for     OUTPUT/turn/
               cameras that roll
    wide       the same with pairs that differ far in scale     OUTPUT/wide/
               and angle, in light of night and shadow; rooms   OUTPUT/rooms/*
               by day and night; with `correspondences` the
               matches of LightGlue too                         OUTPUT/correspondences/*.npz
    quantized  where it is asked for, the local part learns     OUTPUT/quantized/
               to compute in INT8 what it does in full
    global     a VLAD of the local descriptors, fitted to the pool and to rooms rendered from its photos
    export     the network, as checkpoint, variables and ONNX   OUTPUT/{trained.pt, variables.npz, hfnet.onnx}

With `global_head="layer_18"` the global descriptor pools layer 18, as the released network does:

    warmup     layers 8-18, dense loss only; then k-means       OUTPUT/warmup/
    global     layers 8-18 and the global head, contrastive     OUTPUT/global/
    imitation  the same, imitating a VLAD of local descriptors  OUTPUT/imitation/

On the pool of 1,426 photos that was not nearly as good at finding places.

With `start`, a model file, training goes on from its weights: `wide` is the only stage of the local part, and the
model is the teacher where no other is given. Photos under licences that bind what is made of them are left out, unless
`any_licence` asks for them.

Every part goes on where it was interrupted when the same call is repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from hfnet_core.config import TrainConfig
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.checkpoint import save_network
from hfnet_core.training.data.correspondences import match_correspondences, with_second_neighbours
from hfnet_core.training.data.day_night import with_rooms
from hfnet_core.training.data.global_data import GlobalDataSettings
from hfnet_core.training.data.local_data import LocalDataSettings
from hfnet_core.training.data.pair_matches import match_pairs, read_pair_matches
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.teacher_keypoints import Teacher, run_teacher
from hfnet_core.training.data.wide import WideSettings
from hfnet_core.training.export import export_checkpoint, save_variables
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.peers.correspondence import LightGlueTeacher
from hfnet_core.training.stages.global_stage import (
    GlobalLossSettings,
    GlobalStage,
    initialize_clusters,
    solve_reduction,
)
from hfnet_core.training.stages.local_stage import LocalLossSettings, LocalStage
from hfnet_core.training.stages.local_vlad import fit_local_vlad
from hfnet_core.training.stages.loop import CHECKPOINT_NAME, RunSettings, Stage, run_stage
from hfnet_core.training.stages.quantized_stage import QuantizedStage
from hfnet_core.training.start import load_local_part

__all__ = ["spec_of", "train_network", "view_sizes"]

_IMITATION = GlobalLossSettings(imitation_weight=10.0, place_weight=0.25, dense_weight=0.25)
_TURN_DEG = 60.0  # two crops of a photo then differ by 41 degrees (standard deviation) instead of 21
_GENTLE_TURN_DEG = 45.0
_WIDE_SCALE = (0.45, 1.6)  # of crops of two overlapping photos: both together differ by up to 3.5
_OTHER_LIGHT = 0.3  # share of crops
_MEASURED = 200  # photos on which the batch norms of a model file are measured
_BLANK_REPORTS = 50  # photos between two lines about the teacher


def train_network(
    pool_folder: Path,
    output: Path,
    config: TrainConfig,
    make_teacher: Callable[[], Teacher],
    *,
    version: str,
    start: Path | None = None,
    report: Callable[[str], None] = print,
) -> HFNet:
    """Run every part of the recipe that is not done yet; returns the trained network.

    make_teacher: called only if some photo lacks its teacher keypoints. start: a model file to go on from.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    pool = Pool.read(pool_folder)
    if not config.any_licence:
        pool = pool.permissive()
    for name, count in sorted(Counter(photo.license for photo in pool.photos).items()):
        report(f"pool: {count} photos under {name}")
    run_teacher(make_teacher, pool, output / "teacher", _teacher_report(report, "photos"))
    match_pairs(make_teacher, pool, output / "matches", _teacher_report(report, "pairs"))

    torch.manual_seed(config.seed)
    network = HFNet(spec_of(config))
    _train_local(_Local(pool, output, config, make_teacher, report), network, start)
    if isinstance(network.global_head, LocalVladHead):
        network.global_head.load_state_dict(_fitted(network, pool, config).state_dict())
    else:
        _train_global(pool, network, output, config, report)

    save_network(network, output / "trained.pt")
    save_variables(network.variables(), output / "variables.npz")
    model = output / "hfnet.onnx"
    parity = export_checkpoint(
        output / "trained.pt", model, name="hfnet-trained", version=version, licence="Apache-2.0"
    )
    report(f"wrote {model}; largest difference to torch {parity.worst:.1e}")
    return network


def spec_of(config: TrainConfig) -> NetworkSpec:
    """The sizes of the network a configuration asks for; trained networks sample at the geometric cell centres."""
    pool_local = config.global_head == "local"
    return NetworkSpec(
        local_dim=config.local_dim,
        global_dim=config.global_dim,
        clusters=config.words if pool_local else config.clusters,
        intermediate_dim=config.word_dim if pool_local else config.intermediate_dim,
        corner_aligned=False,
        pool_local=pool_local,
    )


def view_sizes(width_px: int) -> tuple[tuple[int, int], ...]:
    """Sizes (width, height) of the global stage's views: 4:3 at three scales, and one upright; multiples of 8."""
    wide = [(width_px * share / 48, width_px * share / 64) for share in (40, 48, 56)]
    sizes = [*wide, wide[1][::-1]]
    return tuple((round(width / 8) * 8, round(height / 8) * 8) for width, height in sizes)


class _Local(NamedTuple):
    """What the local stages are trained with."""

    pool: Pool
    output: Path
    config: TrainConfig
    make_teacher: Callable[[], Teacher]
    report: Callable[[str], None]


def _train_local(what: _Local, network: HFNet, start: Path | None) -> None:
    pool, output, config, _, report = what

    def run(stage: Stage, minutes: float, rate: float, seed: int) -> None:
        settings = RunSettings(minutes=minutes, learning_rate=rate, seed=seed, workers=config.workers)
        run_stage(stage, network, settings, output / stage.name, config.device, report)

    crops = LocalDataSettings(pairs=config.pairs, crop_px=config.crop_px)
    if start is None:
        _train_from_nothing(what, crops, run)
    else:
        every = max(len(pool.photos) // _MEASURED, 1)
        load_local_part(network, start, (read_gray(photo.path) for photo in pool.photos[::every]))
    run(_wide_stage(what, crops), config.wide_minutes, config.wide_learning_rate, config.seed + 4)
    if config.quantized_minutes:
        stage = QuantizedStage(pool, output / "teacher", crops)
        run(stage, config.quantized_minutes, config.quantized_learning_rate, config.seed + 5)


def _train_from_nothing(
    what: _Local, crops: LocalDataSettings, run: Callable[[Stage, float, float, int], None]
) -> None:
    pool, output, config, _, report = what
    teacher = output / "teacher"
    run(LocalStage(pool, teacher, crops), config.local_minutes, config.local_learning_rate, config.seed)
    matches = read_pair_matches(pool, output / "matches")
    report(f"polish: {len(matches)} of {len(pool.pairs)} pairs of photos are of use")

    def exact(name: str, data: LocalDataSettings) -> LocalStage:
        return LocalStage(pool, teacher, data, LocalLossSettings(learned=True), matches, name)

    turned = replace(
        crops,
        crops=replace(crops.crops, rotation_deg=_TURN_DEG),
        gentle=replace(crops.gentle, rotation_deg=_GENTLE_TURN_DEG),
    )
    run(exact("polish", crops), config.polish_minutes, config.polish_learning_rate, config.seed + 1)
    run(exact("finish", crops), config.finish_minutes, config.finish_learning_rate, config.seed + 2)
    run(exact("turn", turned), config.turn_minutes, config.turn_learning_rate, config.seed + 3)


def _wide_stage(what: _Local, crops: LocalDataSettings) -> LocalStage:
    pool, output, config, make_teacher, report = what
    matches = read_pair_matches(pool, output / "matches")
    if config.correspondences:
        more = with_second_neighbours(pool)
        found = output / "correspondences"
        match_correspondences(LightGlueTeacher, more, found, _teacher_report(report, "correspondences"))
        verified = read_pair_matches(more, found)
        report(f"wide: {len(verified)} of {len(more.pairs)} pairs of photos have correspondences")
        matches += verified
    rooms = output / "rooms"
    larger = with_rooms(pool, rooms, config.night_rooms, config.seed, _teacher_report(report, "rooms"))
    run_teacher(make_teacher, larger, output / "teacher")
    matches += read_pair_matches(Pool(larger.photos, larger.pairs[len(pool.pairs) :]), rooms)
    gentle = replace(crops.gentle, scale=_WIDE_SCALE, rotation_deg=_GENTLE_TURN_DEG)
    data = replace(crops, wide=WideSettings(), other_light=_OTHER_LIGHT, gentle=gentle)
    return LocalStage(larger, output / "teacher", data, LocalLossSettings(learned=True), matches, "wide")


def _train_global(pool: Pool, network: HFNet, output: Path, config: TrainConfig, report: Callable[[str], None]) -> None:
    def settings(minutes: float, rate: float, seed: int) -> RunSettings:
        return RunSettings(minutes=minutes, learning_rate=rate, seed=seed, workers=config.workers)

    def run(stage: GlobalStage, run_settings: RunSettings, prepare: Callable[[], None]) -> None:
        folder = output / stage.name
        if not (folder / CHECKPOINT_NAME).is_file():
            prepare()
        run_stage(stage, network, run_settings, folder, config.device, report)

    rate, views = config.global_learning_rate, _view_settings(config)
    warmup = GlobalStage(pool, views, weights=GlobalLossSettings(place_weight=0.0), name="warmup")
    run(warmup, settings(config.warmup_minutes, rate, config.seed), lambda: None)
    contrastive = GlobalStage(pool, views)
    run(
        contrastive,
        settings(config.global_minutes, rate, config.seed),
        lambda: initialize_clusters(network, contrastive, config.seed),
    )
    teacher = _fitted(network, pool, config)
    imitation = GlobalStage(pool, views, _IMITATION, teacher, "imitation")
    run(
        imitation,
        settings(config.imitation_minutes, config.imitation_learning_rate, config.seed + 1),
        lambda: solve_reduction(network, imitation, teacher, config.seed, config.regression_batches),
    )


def _view_settings(config: TrainConfig) -> GlobalDataSettings:
    return GlobalDataSettings(places=config.places, views=config.views, sizes=view_sizes(config.view_px))


def _fitted(network: HFNet, pool: Pool, config: TrainConfig) -> LocalVladHead:
    sizes = {"words": config.words, "word_dim": config.word_dim, "global_dim": config.global_dim}
    return fit_local_vlad(network, pool, **sizes, seed=config.seed, rooms=config.rooms)


def _teacher_report(report: Callable[[str], None], what: str) -> Callable[[int, int], None]:
    def every_few(done: int, total: int) -> None:
        if done % _BLANK_REPORTS == 0 or done == total:
            report(f"teacher: {done} of {total} {what}")

    return every_few
