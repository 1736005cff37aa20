"""The whole recipe, from a pool of photos to an ONNX file: what `hfnet train` does.

    teacher    keypoints of every photo, matches of every pair  OUTPUT/{teacher, matches}/*.npz
    local      layers 1-7 and the local heads, crops of single  OUTPUT/local/{checkpoint.pt, log.csv}
               photos, fixed weights of the losses
    polish     the same, overlapping photos among them, learned OUTPUT/polish/
               weights, keypoints exact below the pixel
               `tracks`: keypoints lie where the sequences,     OUTPUT/tracks/*.npz
               reconstructed, have their points
    finish     the same from a lower learning rate              OUTPUT/finish/
    turn       the same with crops turned much further, for     OUTPUT/turn/
               cameras that roll
    wide       the same with pairs that differ far in scale     OUTPUT/wide/
               and angle, in light of night and shadow; rooms   OUTPUT/rooms/*
               by day and night; with `correspondences` the
               matches of LightGlue too                         OUTPUT/correspondences/*.npz
    quantized  where it is asked for, the local part learns     OUTPUT/quantized/
               to compute in INT8 what it does in full
    global     a VLAD of the local descriptors, fitted to the   OUTPUT/global/*/
               pool and to rooms rendered from its photos
    export     the network, as checkpoint, variables and ONNX   OUTPUT/{trained.pt, variables.npz, hfnet.onnx}

With `global_head="layer_18"` the global descriptor pools layer 18, as the released network does:

    warmup     layers 8-18, dense loss only; then k-means       OUTPUT/warmup/
    global     layers 8-18 and the global head, contrastive     OUTPUT/global/
    imitation  the same, imitating a VLAD of local descriptors  OUTPUT/imitation/

On the pool of 1,426 photos that was not nearly as good at finding places.

With `start`, a model file, training goes on from its weights: `wide` is the first stage of the local part then, and the
model is the teacher where no other is given. Photos under licences that bind what is made of them are left out, unless
`any_licence` asks for them.

Every part goes on where it was interrupted when the same call is repeated.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from hfnet_core.config import TrainConfig
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.progress import ProgressLines
from hfnet_core.training.data.global_data import GlobalDataSettings
from hfnet_core.training.data.pair_matches import match_pairs, read_pair_matches
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.teacher_keypoints import Teacher, run_teacher
from hfnet_core.training.export import Identity, write_results
from hfnet_core.training.local_recipe import LocalPart, teacher_report, train_local
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.stages.global_stage import (
    GlobalLossSettings,
    GlobalStage,
    initialize_clusters,
    solve_reduction,
)
from hfnet_core.training.stages.local_stage import LocalStage
from hfnet_core.training.stages.local_vlad import fit_local_vlad
from hfnet_core.training.stages.loop import CHECKPOINT_NAME, RunSettings, run_stage
from hfnet_core.training.stages.parts import Parts

__all__ = ["spec_of", "train_network", "view_sizes"]

_IMITATION = GlobalLossSettings(imitation_weight=10.0, place_weight=0.25, dense_weight=0.25)


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
    run_teacher(make_teacher, pool, output / "teacher", teacher_report(report, "photos"))
    match_pairs(make_teacher, pool, output / "matches", teacher_report(report, "pairs"))

    torch.manual_seed(config.seed)
    network = HFNet(spec_of(config))
    train_local(LocalPart(pool, output, config, make_teacher, report), network, start)
    if isinstance(network.global_head, LocalVladHead):
        network.global_head.load_state_dict(_fitted(network, pool, output, config, report).state_dict())
    else:
        _train_global(pool, network, output, config, report)

    model, parity = write_results(network, output, Identity("hfnet-trained", version, "Apache-2.0"))
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


def _train_global(pool: Pool, network: HFNet, output: Path, config: TrainConfig, report: Callable[[str], None]) -> None:
    def settings(minutes: float, rate: float, seed: int) -> RunSettings:
        return RunSettings(
            minutes=minutes,
            learning_rate=rate,
            seed=seed,
            workers=config.workers,
            processor_time=config.processor_time,
        )

    def run(stage: GlobalStage, run_settings: RunSettings, prepare: Callable[[], None]) -> None:
        folder = output / stage.name
        if not (folder / CHECKPOINT_NAME).is_file():
            prepare()
        run_stage(stage, network, run_settings, folder, config.device, report)

    rate, views = config.global_learning_rate, _view_settings(config)
    pairs = read_pair_matches(pool, output / "matches")
    warmup = GlobalStage(pool, views, weights=GlobalLossSettings(place_weight=0.0), name="warmup", matches=pairs)
    run(warmup, settings(config.warmup_minutes, rate, config.seed), lambda: None)
    contrastive = GlobalStage(pool, views, matches=pairs)
    run(
        contrastive,
        settings(config.global_minutes, rate, config.seed),
        lambda: initialize_clusters(network, contrastive, config.seed),
    )
    teacher = _fitted(network, pool, output, config, report)
    imitation = GlobalStage(pool, views, _IMITATION, teacher, "imitation", pairs)
    run(
        imitation,
        settings(config.imitation_minutes, config.imitation_learning_rate, config.seed + 1),
        lambda: solve_reduction(network, imitation, teacher, config.seed, config.regression_batches),
    )


def _view_settings(config: TrainConfig) -> GlobalDataSettings:
    return GlobalDataSettings(places=config.places, views=config.views, sizes=view_sizes(config.view_px))


def _fitted(
    network: HFNet, pool: Pool, output: Path, config: TrainConfig, report: Callable[[str], None]
) -> LocalVladHead:
    """The VLAD of this network's local descriptors; fitted once, and what is done of it survives a kill."""
    sizes = {"words": config.words, "word_dim": config.word_dim, "global_dim": config.global_dim}
    digest = hashlib.sha256(repr((sizes, config.seed, config.rooms, pool)).encode())
    for name, value in sorted(network.state_dict().items()):
        if name.split(".")[0] in LocalStage.modules:
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    with ProgressLines(report) as progress:
        parts = Parts(output / "global" / digest.hexdigest()[:16], progress)
        return fit_local_vlad(network, pool, **sizes, seed=config.seed, rooms=config.rooms, parts=parts)
