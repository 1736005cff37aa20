"""`hfnet train IMAGES... OUTPUT` and `hfnet export CHECKPOINT MODEL`. torch is imported only when they run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from hfnet_core.config import PaperTrainConfig, TrainConfig, from_mapping
from hfnet_core.errors import ConfigError, first_line
from hfnet_core.files import read_text
from hfnet_core.version import __version__

__all__ = ["export", "train"]

_DEFAULTS = TrainConfig()
_OURS, _PAPER = "ours", "paper"
_OF_OURS = (
    "local_minutes",
    "polish_minutes",
    "finish_minutes",
    "turn_minutes",
    "wide_minutes",
    "quantized_minutes",
    "correspondences",
    "any_licence",
    "global_head",
)
_OF_BOTH = ("seed", "threads", "device")
_UNKNOWN_LICENCE = "unknown"  # images and teachers have their own


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("training needs PyTorch; pip install 'hfnet_ros[train]' (torch and kornia)")


def train(
    context: typer.Context,
    pool: Annotated[
        list[Path],
        typer.Argument(
            metavar="POOL",
            help="Folder with manifest.csv, pairs.csv and the photos; paper: folders of images, with those below.",
        ),
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder of the run; repeat the command to resume.")],
    recipe: Annotated[
        str, typer.Option(help="ours (as the weights that ship), or paper: distillation of local and global teachers.")
    ] = _OURS,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file of settings of the recipe; options of this command override it.")
    ] = None,
    teacher_weights: Annotated[
        Path | None,
        typer.Option(help="ours: ALIKED weights (aliked-n16.pth); with --start the model itself may teach."),
    ] = None,
    local_teacher: Annotated[
        str, typer.Option(help="paper: superpoint=FILE, or hfnet[=FILE]: a model .onnx, a checkpoint .pt.")
    ] = "hfnet",
    global_teacher: Annotated[str, typer.Option(help="paper: netvlad=FILE, or hfnet[=FILE].")] = "hfnet",
    start: Annotated[
        Path | None,
        typer.Option(
            help="ours: a model .onnx to go on from, with the last local stages alone; paper: weights to begin with, a "
            "checkpoint .pt or TensorFlow's (MobileNetV2, HF-Net)."
        ),
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
    device: Annotated[str, typer.Option(help="cpu or cuda; paper: auto too, its default.")] = _DEFAULTS.device,
) -> None:
    """Train local and global features from photos, and write them as OUTPUT/hfnet.onnx."""
    if recipe not in (_OURS, _PAPER):
        raise ConfigError(f"--recipe: {recipe!r} is not one of {_OURS}, {_PAPER}")
    values = _chosen(context, _read_settings(settings), (*_OF_BOTH, *(_OF_OURS if recipe == _OURS else ())))
    if recipe == _PAPER:
        config = from_mapping(PaperTrainConfig, values)
        _need_torch()
        from hfnet_core.training.export import Identity
        from hfnet_core.training.paper_recipe import train_paper
        from hfnet_core.training.teachers.registry import open_teacher

        train_paper(
            pool,
            output,
            config,
            lambda where: open_teacher(local_teacher, global_teacher, where),
            Identity("hfnet-paper", __version__, _UNKNOWN_LICENCE),
            start=start,
            report=typer.echo,
        )
        return
    if len(pool) != 1:
        raise ConfigError(f"--recipe ours trains on one pool, not on {len(pool)}: put their photos together")
    if teacher_weights is None and start is None:
        raise ConfigError("--recipe ours needs --teacher-weights aliked-n16.pth, or take --recipe paper")
    ours = from_mapping(TrainConfig, values)
    _need_torch()
    from hfnet_core.training.recipe import train_network
    from hfnet_core.training.teachers.aliked import Aliked
    from hfnet_core.training.teachers.model_teacher import ModelTeacher

    def teacher() -> Aliked | ModelTeacher:
        if teacher_weights is not None:
            return Aliked(teacher_weights)
        assert start is not None
        return ModelTeacher(start, threads=ours.threads)

    train_network(pool[0], output, ours, teacher, version=__version__, start=start, report=typer.echo)


def _read_settings(path: Path | None) -> dict[str, Any]:
    """The settings in a YAML file. Raises ConfigError where it is none of `name: value`."""
    if path is None:
        return {}
    try:
        content: Any = yaml.safe_load(read_text(path, "settings of a recipe"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML ({first_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: holds no settings (`steps: 1000`, one a line)")
    return content


def _chosen(context: typer.Context, values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the file, and over them what the command line says of `names`."""
    sources = {name: context.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return values | {name: context.params[name] for name in given}


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
