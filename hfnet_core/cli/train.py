"""`hfnet train IMAGES... OUTPUT` and `hfnet export CHECKPOINT MODEL`. torch is imported only when they run."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from hfnet_core.cli.option_sets import given_options, with_option_sets
from hfnet_core.cli.train_options import MachineArguments, StageArguments, TeachingArguments
from hfnet_core.config import PaperTrainConfig, TrainConfig, from_mapping
from hfnet_core.errors import ConfigError, first_line
from hfnet_core.features.network.model_info import UNKNOWN_LICENCE
from hfnet_core.files import read_text
from hfnet_core.version import __version__

__all__ = ["export", "train"]

_OURS, _PAPER = "ours", "paper"


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("training needs PyTorch; pip install 'hfnet_ros[train]' (torch and kornia)")


@with_option_sets
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
    teaching: TeachingArguments,
    stages: StageArguments,
    machine: MachineArguments,
    recipe: Annotated[
        str, typer.Option(help="ours (as the weights that ship), or paper: distillation of local and global teachers.")
    ] = _OURS,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file of settings of the recipe; options of this command override it.")
    ] = None,
) -> None:
    """Train local and global features from photos, and write them as OUTPUT/hfnet.onnx."""
    values = _read_settings(settings) | _given(context, machine)
    _refuse_those_of_the_other(recipe, context)
    if recipe == _PAPER:
        _train_paper(pool, output, from_mapping(PaperTrainConfig, values), teaching)
    elif recipe == _OURS:
        _train_ours(pool, output, from_mapping(TrainConfig, values | _given(context, stages)), teaching)
    else:
        raise ConfigError(f"--recipe: {recipe!r} is not one of {_OURS}, {_PAPER}")


def _refuse_those_of_the_other(recipe: str, context: typer.Context) -> None:
    """Options that this recipe does not know would be passed over in silence."""
    paper = {"local_teacher", "global_teacher"}
    ours = {"teacher_weights", *(field.name for field in dataclasses.fields(StageArguments))}
    for owner, names in ((_OURS, ours), (_PAPER, paper)):
        given = sorted(names & set(given_options(context)))
        if given and owner != recipe:
            raise ConfigError(f"--{given[0].replace('_', '-')}: is an option of --recipe {owner}, not of {recipe}")


def _train_ours(pool: list[Path], output: Path, config: TrainConfig, teaching: TeachingArguments) -> None:
    if len(pool) != 1:
        raise ConfigError(f"--recipe ours trains on one pool, not on {len(pool)}: put their photos together")
    weights, start = teaching.teacher_weights, teaching.start
    if weights is None and start is None:
        raise ConfigError("--recipe ours needs --teacher-weights aliked-n16.pth, or take --recipe paper")
    _need_torch()
    from hfnet_core.training.allocation import keep_freed_memory
    from hfnet_core.training.recipe import train_network
    from hfnet_core.training.teachers.aliked import Aliked
    from hfnet_core.training.teachers.model_teacher import ModelTeacher

    def teacher() -> Aliked | ModelTeacher:
        if weights is not None:
            return Aliked(weights)
        assert start is not None
        return ModelTeacher(start, threads=config.threads)

    keep_freed_memory()
    train_network(pool[0], output, config, teacher, version=__version__, start=start, report=typer.echo)


def _train_paper(images: list[Path], output: Path, config: PaperTrainConfig, teaching: TeachingArguments) -> None:
    _need_torch()
    from hfnet_core.training.allocation import keep_freed_memory
    from hfnet_core.training.export import Identity
    from hfnet_core.training.paper_recipe import train_paper
    from hfnet_core.training.teachers.registry import open_teacher

    keep_freed_memory()
    train_paper(
        images,
        output,
        config,
        lambda where: open_teacher(teaching.local_teacher, teaching.global_teacher, where),
        Identity("hfnet-paper", __version__, UNKNOWN_LICENCE),
        start=teaching.start,
        report=typer.echo,
    )


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


def _given(context: typer.Context, options: StageArguments | MachineArguments) -> dict[str, Any]:
    """Those of a set that the command line says: the others are left to the settings' file."""
    told = given_options(context)
    return {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.name in told}


def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="checkpoint.pt of a run.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file to write.")],
    name: Annotated[str, typer.Option(help="Name of the weights.")] = "hfnet-trained",
    version: Annotated[str, typer.Option(help="Version of the weights.")] = __version__,
    licence: Annotated[
        str, typer.Option(help="SPDX identifier of the weights' licence, which images and teachers may have a say in.")
    ] = UNKNOWN_LICENCE,
) -> None:
    """Write a checkpoint as ONNX, after checking that ONNX Runtime computes the same."""
    _need_torch()
    from hfnet_core.training.export import export_checkpoint

    parity = export_checkpoint(checkpoint, model, name=name, version=version, licence=licence)
    typer.echo(f"{model}: written; largest difference to torch {parity.worst:.1e}")
