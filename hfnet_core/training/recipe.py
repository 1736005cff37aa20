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
    wide       where it is asked for, pairs that differ far     OUTPUT/wide/
               in scale and angle, night and shadow; rooms      OUTPUT/rooms/*
               by day and night; with `correspondences` the
               matches of LightGlue too                         OUTPUT/correspondences/*.npz
    own        the network's own keypoints teach: scores how    OUTPUT/own/
               right their matches are, descriptors all others
               of the crop, places to agree; ends as the mean
               of its last weights
    quantized  where it is asked for, the local part learns     OUTPUT/quantized/
               to compute in INT8 what it does in full
    global     a VLAD of the local descriptors, fitted to the   OUTPUT/global/*/
               pool and to rooms rendered from its photos
    export     the network, as checkpoint, variables and ONNX   OUTPUT/{trained.pt, variables.npz, hfnet.onnx}

With `global_head="layer_18"` the global descriptor pools layer 18, as the released network does; layers 1-7 are done by
then, so what they make of the views is computed once:

    features   layer 7 of views of photos, of pairs of photos   OUTPUT/features/*/batch_*.pt
               and of rendered rooms, in other light too, and
               the VLAD of their local descriptors
    warmup     layers 8-18, dense loss only; then k-means       OUTPUT/warmup/
    global     layers 8-18 and the global head, contrastive     OUTPUT/global/
    imitation  the same, imitating that VLAD                    OUTPUT/imitation/

On the pool at hand that was not as good at finding places.

With `start`, a model file, training goes on from its weights: `wide` is the first stage of the local part then, or
where 0 minutes leave it out the next one, and the model is the teacher where no other is given. Photos under licences
that bind what is made of them are left out, unless `any_licence` asks for them.

Every part goes on where it was interrupted when the same call is repeated.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hfnet_core.config import TrainConfig
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_file import parse_file, read_model_file
from hfnet_core.features.network.model_info import UNKNOWN_LICENCE, ModelInfo
from hfnet_core.progress import ProgressLines
from hfnet_core.training.data.global_data import GlobalBatches, GlobalDataSettings
from hfnet_core.training.data.pair_matches import match_pairs, read_pair_matches
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.teacher_keypoints import Teacher, run_teacher
from hfnet_core.training.device import chosen_device
from hfnet_core.training.export import Identity, write_results
from hfnet_core.training.local_recipe import RecipeRun, teacher_report, train_local
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.stages.global_stage import (
    GlobalLossSettings,
    GlobalStage,
    initialize_clusters,
    solve_reduction,
)
from hfnet_core.training.stages.layer_features import LayerFeatures
from hfnet_core.training.stages.local_stage import LocalStage
from hfnet_core.training.stages.local_vlad import fit_local_vlad
from hfnet_core.training.stages.loop import CHECKPOINT_NAME, RunSettings, run_stage
from hfnet_core.training.stages.parts import Parts
from hfnet_core.training.start import load_vlad

__all__ = ["spec_of", "train_network", "view_sizes"]

_VLAD = ("projection", "words", "reduction")
_ROOMS, _OTHER_LIGHT = 0.2, 0.25  # of the places and of the views that layers 8-18 see
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
    chosen_device(config.device)
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
    run = RecipeRun(pool, output, config, make_teacher, report)
    train_local(run, network, start)
    if isinstance(network.global_head, LocalVladHead):
        network.global_head.load_state_dict(_fitted(run, network).state_dict())
    elif start is not None and not (config.wide_minutes or config.own_minutes or config.quantized_minutes):
        _train_global(run, network, load_vlad(_vlad(network, config), start))  # the local part is still the model's
    else:
        _train_global(run, network, _fitted(run, network))

    model, parity = write_results(network, output, Identity("hfnet-trained", version, _licence(config, start)))
    report(f"wrote {model}; largest difference to torch {parity.worst:.1e}")
    return network


def _licence(config: TrainConfig, start: Path | None) -> str:
    """Of the trained weights: ours on photos that ask for no more than a name, of a model to go on from its own."""
    if config.any_licence:
        return UNKNOWN_LICENCE
    if start is None:
        return "Apache-2.0"
    return ModelInfo.from_metadata(parse_file(read_model_file(start), str(start)).metadata, str(start)).licence


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


def _train_global(what: RecipeRun, network: HFNet, teacher: LocalVladHead) -> None:
    _, output, config, _, report = what

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

    rate, features = config.global_learning_rate, _layer_features(what, network, teacher)
    warmup = GlobalStage(features, GlobalLossSettings(place_weight=0.0), "warmup")
    run(warmup, settings(config.warmup_minutes, rate, config.seed), lambda: None)
    contrastive = GlobalStage(features)
    run(
        contrastive,
        settings(config.global_minutes, rate, config.seed),
        lambda: initialize_clusters(network, contrastive, config.seed),
    )
    imitation = GlobalStage(features, _IMITATION, "imitation")
    run(
        imitation,
        settings(config.imitation_minutes, config.imitation_learning_rate, config.seed + 1),
        lambda: solve_reduction(network, imitation, config.seed, config.regression_batches),
    )


def _layer_features(what: RecipeRun, network: HFNet, teacher: LocalVladHead) -> LayerFeatures:
    """Those of the views that layers 8-18 are trained on, made where they are not there yet."""
    pool, output, config, _, report = what
    views = GlobalDataSettings(
        places=config.places,
        views=config.views,
        sizes=view_sizes(config.view_px),
        rooms=_ROOMS,
        other_light=_OTHER_LIGHT,
    )
    pairs = read_pair_matches(pool, output / "matches")
    name = _digest({**network.state_dict(), **teacher.state_dict()}, views, config.seed, pool, len(pairs))
    features = LayerFeatures(output / "features" / name, config.feature_batches)
    with ProgressLines(report) as progress:
        source = GlobalBatches(pool, views, config.seed, config.feature_batches, pairs)
        features.fill(network, source, teacher, progress)
    return features


def _vlad(network: HFNet, config: TrainConfig) -> LocalVladHead:
    """A head for the network's local descriptors, not fitted yet."""
    spec = dataclasses.replace(
        network.spec, clusters=config.words, intermediate_dim=config.word_dim, corner_aligned=False, pool_local=True
    )
    return LocalVladHead(spec)


def _fitted(what: RecipeRun, network: HFNet) -> LocalVladHead:
    """The VLAD of this network's local descriptors; fitted once, and what is done of it survives a kill."""
    pool, output, config, _, report = what
    sizes = {"words": config.words, "word_dim": config.word_dim, "global_dim": config.global_dim}
    name = _digest(network.state_dict(), sizes, config.seed, config.rooms, pool)
    with ProgressLines(report) as progress:
        parts = Parts(output / "global" / name, progress)
        return fit_local_vlad(network, pool, **sizes, seed=config.seed, rooms=config.rooms, parts=parts)


def _digest(state: Mapping[str, Tensor], *others: object) -> str:
    """A name for what is made of others and of the weights of layers 1-7, the local heads and, if there, a VLAD."""
    digest = hashlib.sha256(repr(others).encode())
    for name, value in sorted(state.items()):
        if name.split(".")[0] in (*LocalStage.modules, *_VLAD):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
