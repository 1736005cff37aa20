"""Options of `hfnet train`, in sets: their defaults are those of the recipe's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.config import TrainConfig

__all__ = ["MachineArguments", "StageArguments", "TeachingArguments"]

_DEFAULTS = TrainConfig()


@dataclass(frozen=True)
class TeachingArguments:
    """Who teaches, and what training begins with."""

    teacher_weights: Annotated[
        Path | None,
        typer.Option(help="ours: ALIKED weights (aliked-n16.pth); with --start the model itself may teach."),
    ] = None
    local_teacher: Annotated[
        str, typer.Option(help="paper: superpoint=FILE, or hfnet[=FILE]: a model .onnx, a checkpoint .pt.")
    ] = "hfnet"
    global_teacher: Annotated[str, typer.Option(help="paper: netvlad=FILE, or hfnet[=FILE].")] = "hfnet"
    start: Annotated[
        Path | None,
        typer.Option(
            help="ours: a model .onnx to go on from, with the last local stages alone; paper: weights to begin with, a "
            "checkpoint .pt or TensorFlow's (MobileNetV2, HF-Net)."
        ),
    ] = None


@dataclass(frozen=True)
class StageArguments:
    """Our recipe's stages."""

    local_minutes: Annotated[float, typer.Option(help="Minutes for the local heads.")] = _DEFAULTS.local_minutes
    polish_minutes: Annotated[float, typer.Option(help="Minutes for the same with overlapping photos.")] = (
        _DEFAULTS.polish_minutes
    )
    finish_minutes: Annotated[
        float, typer.Option(help="Minutes for the same once more, from a lower learning rate.")
    ] = _DEFAULTS.finish_minutes
    turn_minutes: Annotated[float, typer.Option(help="Minutes for the same with crops turned much further.")] = (
        _DEFAULTS.turn_minutes
    )
    wide_minutes: Annotated[
        float, typer.Option(help="Minutes for the same with far scales and angles, night and shadow; 0 leaves it out.")
    ] = _DEFAULTS.wide_minutes
    own_minutes: Annotated[
        float, typer.Option(help="Minutes in which the network's own keypoints and matches teach; 0 leaves it out.")
    ] = _DEFAULTS.own_minutes
    quantized_minutes: Annotated[
        float, typer.Option(help="Minutes in which the local part learns to be rounded to INT8; 0 leaves it out.")
    ] = _DEFAULTS.quantized_minutes
    correspondences: Annotated[
        bool, typer.Option("--correspondences", help="Learn from LightGlue's matches of photos too (peers extra).")
    ] = _DEFAULTS.correspondences
    any_licence: Annotated[
        bool, typer.Option("--any-licence", help="Also photos under share-alike licences or of unknown origin.")
    ] = _DEFAULTS.any_licence
    global_head: Annotated[
        str, typer.Option(help="What the global descriptor pools: local (descriptors) or layer_18 (longer training).")
    ] = _DEFAULTS.global_head


@dataclass(frozen=True)
class MachineArguments:
    """Both recipes: chance, and what computes."""

    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = _DEFAULTS.seed
    threads: Annotated[int, typer.Option(help="CPU threads; 0 leaves it to torch.")] = _DEFAULTS.threads
    device: Annotated[str, typer.Option(help="cpu or cuda; paper: auto too, its default.")] = _DEFAULTS.device
