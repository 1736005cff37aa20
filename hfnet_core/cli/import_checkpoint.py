"""`hfnet import-checkpoint SOURCE -o FILE`: weights of others, for those who have them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.errors import ConfigError

__all__ = ["import_checkpoint"]


def import_checkpoint(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="HF-Net: the released SavedModel folder or a TensorFlow checkpoint (prefix or folder). Teachers: "
            "SuperPoint's superpoint_v1.pth; NetVLAD's .mat or TensorFlow checkpoint.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="MODEL.onnx for HF-Net, TEACHER.safetensors for a teacher.")
    ],
    name: Annotated[str, typer.Option(help="Name of the HF-Net weights.")] = "hfnet-official",
    version: Annotated[str, typer.Option(help="Version of the HF-Net weights.")] = "as released",
    licence: Annotated[str, typer.Option(help="Licence of the HF-Net weights.")] = "as released by its authors",
) -> None:
    """Turn weights that you own into files this package uses; neither TensorFlow nor MATLAB is needed."""
    from hfnet_core.features.network.release_import import import_release, open_release

    checkpoint = open_release(source)
    if checkpoint is None:
        try:
            from hfnet_core.training.teachers.teacher_files import import_teacher
        except ImportError as error:
            raise ConfigError("importing a teacher needs PyTorch; pip install 'hfnet_ros[train]'") from error
        typer.echo(f"{output}: {import_teacher(source, output)}, every parameter checked")
    else:
        count = import_release(checkpoint, output, name=name, version=version, licence=licence)
        typer.echo(f"{output}: HF-Net from {count} variables of {checkpoint.prefix}, every checksum verified")
