"""The paper's recipe, from folders of images to an ONNX file: what `hfnet train --recipe paper` does.

    images     names, shuffled once; the first are kept for validation
    distill    the whole network imitates its teachers              OUTPUT/distill/{checkpoint.pt, log.csv,
                                                                    validation.csv}
    export     the network, as checkpoint, variables and ONNX       OUTPUT/{trained.pt, variables.npz, hfnet.onnx}

Repeated after a kill, it goes on from the last checkpoint and ends where it would have ended: on a CPU, with as many
threads, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hfnet_core.config import PaperTrainConfig
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.files import make_folder
from hfnet_core.progress import ProgressLines
from hfnet_core.training.data.streaming.photo_stream import find_photos
from hfnet_core.training.device import chosen_device
from hfnet_core.training.export import Identity, write_results
from hfnet_core.training.initialization import draw_weights, start_from
from hfnet_core.training.network import HFNet
from hfnet_core.training.stages.csv_table import StepTable
from hfnet_core.training.stages.distillation import DistillationStage
from hfnet_core.training.stages.loop import CHECKPOINT_NAME, RunSettings, run_stage
from hfnet_core.training.stages.rmsprop import SteppedRmsProp
from hfnet_core.training.stages.validation import Validation
from hfnet_core.training.teachers.targets import FullTeacher

__all__ = ["train_paper"]

_LOG_VARIANCE = 1.0  # of each loss, at the start


def train_paper(
    folders: Sequence[Path],
    output: Path,
    config: PaperTrainConfig,
    make_teacher: Callable[[str], FullTeacher],
    identity: Identity,
    *,
    start: Path | None = None,
    report: Callable[[str], None] = print,
) -> HFNet:
    """Run what is not done yet; returns the trained network.

    folders: of images, with those below. make_teacher: opens the teacher on a device. start: see `start_from`; without
    it weights are random. Raises DatasetError for folders without images, ConfigError for a device that is not there
    or a folder of another run, ModelError for weights that do not fit.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = chosen_device(config.device)
    with ProgressLines(report) as progress:
        photos = find_photos(folders, config.validation_images, config.seed, progress)
    report(f"images: {photos.training} to train on, {photos.validation} for validation")
    teacher = make_teacher(device)
    report(f"teacher: {teacher.name}, on {device}")
    network = HFNet(_spec(config, teacher))
    draw_weights(network, config.seed)
    folder = output / DistillationStage.name
    begun = (folder / CHECKPOINT_NAME).is_file()
    if start is not None and not begun:
        report(f"start: {start_from(network, start)} variables of {start}")
    validation = Validation(photos, teacher, (config.width_px, config.height_px), config.batch_size)
    watcher = validation.watcher(network, config.validation_steps, StepTable(folder / "validation.csv"), report)
    stage = DistillationStage(photos, teacher, config)
    if not begun:
        make_folder(folder)
        network.to(device)
        with ProgressLines(report) as progress:
            progress("validation before the first step", 0, photos.validation)
            watcher(0)
    run_stage(stage, network, _settings(config), folder, device, report, after_step=watcher)
    model, parity = write_results(network.cpu(), output, identity)
    report(f"wrote {model}; largest difference to torch {parity.worst:.1e}")
    return network


def _spec(config: PaperTrainConfig, teacher: FullTeacher) -> NetworkSpec:
    """Descriptors as long as the teacher's, everything else as released."""
    return NetworkSpec(
        local_dim=teacher.local_dim,
        global_dim=teacher.global_dim,
        clusters=config.clusters,
        intermediate_dim=config.intermediate_dim,
        corner_aligned=config.corner_aligned,
    )


def _settings(config: PaperTrainConfig) -> RunSettings:
    return RunSettings(
        steps=config.steps,
        optimization=SteppedRmsProp(
            config.learning_rates, config.learning_rate_steps, config.rms_decay, config.rms_epsilon
        ),
        gradient_norm=math.inf,
        bf16_until=0.0,
        log_variance=_LOG_VARIANCE,
        seed=config.seed,
        workers=config.workers,
        checkpoint_steps=config.checkpoint_steps,
    )
