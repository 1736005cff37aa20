"""`hfnet train POOL OUTPUT` and `hfnet export CHECKPOINT MODEL`. torch is imported only when they run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.config import TrainConfig, from_mapping
from hfnet_core.errors import ConfigError
from hfnet_core.version import __version__

__all__ = ["export", "train"]

_DEFAULTS = TrainConfig()


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("training needs PyTorch; pip install 'hfnet_ros[train]' (torch and kornia)")


def train(
    pool: Annotated[Path, typer.Argument(metavar="POOL", help="Folder with manifest.csv, pairs.csv and the photos.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder of the run; repeat the command to resume.")],
    teacher_weights: Annotated[
        Path | None, typer.Option(help="ALIKED weights (aliked-n16.pth); with --start the model itself may teach.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Model file to go on from: only the last local stage, and the global head.")
    ] = None,
    local_minutes: Annotated[float, typer.Option(help="Minutes for the local heads.")] = _DEFAULTS.local_minutes,
    polish_minutes: Annotated[
        float, typer.Option(help="Minutes for the same with overlapping photos.")
    ] = _DEFAULTS.polish_minutes,
    finish_minutes: Annotated[
        float, typer.Option(help="Minutes for the same once more, from a lower learning rate.")
    ] = _DEFAULTS.finish_minutes,
    turn_minutes: Annotated[
        float, typer.Option(help="Minutes for the same with crops turned much further.")
    ] = _DEFAULTS.turn_minutes,
    wide_minutes: Annotated[
        float, typer.Option(help="Minutes for the same with far scales and angles, night and shadow.")
    ] = _DEFAULTS.wide_minutes,
    quantized_minutes: Annotated[
        float, typer.Option(help="Minutes in which the local part learns to be rounded to INT8; 0 leaves it out.")
    ] = _DEFAULTS.quantized_minutes,
    correspondences: Annotated[
        bool, typer.Option("--correspondences", help="Learn from LightGlue's matches of photos too (peers extra).")
    ] = _DEFAULTS.correspondences,
    any_licence: Annotated[
        bool, typer.Option("--any-licence", help="Also photos under share-alike licences or of unknown origin.")
    ] = _DEFAULTS.any_licence,
    global_head: Annotated[
        str, typer.Option(help="What the global descriptor pools: local (descriptors) or layer_18 (longer training).")
    ] = _DEFAULTS.global_head,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = _DEFAULTS.seed,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch.")] = _DEFAULTS.threads,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = _DEFAULTS.device,
) -> None:
    """Train local and global features from a pool of photos, and write them as OUTPUT/hfnet.onnx."""
    config = from_mapping(
        TrainConfig,
        {
            "local_minutes": local_minutes,
            "polish_minutes": polish_minutes,
            "finish_minutes": finish_minutes,
            "turn_minutes": turn_minutes,
            "wide_minutes": wide_minutes,
            "quantized_minutes": quantized_minutes,
            "correspondences": correspondences,
            "any_licence": any_licence,
            "global_head": global_head,
            "seed": seed,
            "threads": threads,
            "device": device,
        },
    )
    _need_torch()
    from hfnet_core.training.recipe import train_network
    from hfnet_core.training.teachers.aliked import Aliked
    from hfnet_core.training.teachers.model_teacher import ModelTeacher

    def teacher() -> Aliked | ModelTeacher:
        if teacher_weights is not None:
            return Aliked(teacher_weights)
        if start is not None:
            return ModelTeacher(start, threads=threads)
        raise ConfigError("training from nothing needs a teacher: --teacher-weights aliked-n16.pth")

    def report(line: str) -> None:
        typer.echo(line)

    train_network(pool, output, config, teacher, version=__version__, start=start, report=report)


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="checkpoint.pt of a run.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file to write.")],
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "hfnet-trained",
    version: Annotated[str, typer.Option(help="Version of the weights.")] = __version__,
    licence: Annotated[str, typer.Option(help="SPDX identifier of the weights' licence.")] = "Apache-2.0",
) -> None:
    """Write a checkpoint as ONNX, after checking that ONNX Runtime computes the same."""
    _need_torch()
    from hfnet_core.training.export import export_checkpoint

    parity = export_checkpoint(checkpoint, model, name=name, version=version, licence=licence)
    typer.echo(f"{model}: written; largest difference to torch {parity.worst:.1e}")
