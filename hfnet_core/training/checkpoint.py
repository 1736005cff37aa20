"""Checkpoints: everything a run needs to go on, in one file written under a temporary name and renamed."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from hfnet_core.errors import ModelError, first_line
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.network import HFNet

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "save_network"]

_FORMAT = "hfnet-training-2"


@dataclass
class Checkpoint:
    """State of a run after `step` steps and `elapsed_s` seconds of training.

    network, optimizer: state dicts; scale: logarithm of the InfoNCE scale; log_variances: of the tasks whose weights
    are learned; random: torch's generator state.
    """

    stage: str
    step: int
    elapsed_s: float
    spec: NetworkSpec
    network: dict[str, Any]
    optimizer: dict[str, Any]
    scale: torch.Tensor
    log_variances: torch.Tensor
    random: torch.Tensor

    def build_network(self) -> HFNet:
        """The network with the checkpoint's weights."""
        network = HFNet(self.spec)
        network.load_state_dict(self.network)
        return network


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a kill leaves the former file or the new one."""
    values = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    values |= {"spec": asdict(checkpoint.spec), "format": _FORMAT}
    temporary = path.with_suffix(".tmp")
    torch.save(values, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; no code in the file is run."""
    if not path.is_file():
        raise ModelError(f"{path} is missing: give a checkpoint written by hfnet train")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is no readable checkpoint ({first_line(error)})") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a checkpoint of this version ({_FORMAT}): train again or export elsewhere")
    del values["format"]
    return Checkpoint(**(values | {"spec": NetworkSpec(**values["spec"])}))


def save_network(network: HFNet, path: Path) -> None:
    """A checkpoint of a finished network: only its weights matter, no run goes on from it."""
    no_run: tuple[Any, ...] = ({}, *[torch.zeros(0)] * 3)
    save_checkpoint(path, Checkpoint("finished", 0, 0.0, network.spec, network.state_dict(), *no_run))
