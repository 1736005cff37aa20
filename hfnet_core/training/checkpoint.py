"""Checkpoints: everything a run needs to go on, in one file written under a temporary name and renamed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from hfnet_core.errors import DatasetError, ModelError, first_line
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import spec_of
from hfnet_core.files import whole_file
from hfnet_core.training.network import HFNet

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint", "save_network", "save_values"]

_FORMAT = "hfnet-training-2"


@dataclass
class Checkpoint:
    """State of a run after `step` steps and `elapsed_s` seconds of training.

    network, optimizer: state dicts; scale: logarithm of the InfoNCE scale; log_variances: of the tasks whose weights
    are learned; random: torch's generator state; stage_state: what the stage itself remembers; mean: of the network's
    floating-point weights over the last steps, where a run keeps one.
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
    stage_state: dict[str, Any] = field(default_factory=dict)
    mean: dict[str, torch.Tensor] = field(default_factory=dict)

    def build_network(self) -> HFNet:
        """The network with the checkpoint's weights. Raises ModelError where they do not fit."""
        network = HFNet(self.spec)
        try:
            network.load_state_dict(self.network)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(f"the checkpoint's weights are not those of its network ({first_line(error)})") from error
        return network


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a kill or a full disk leaves the former file or the new one. Raises DatasetError."""
    values = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    values |= {"spec": asdict(checkpoint.spec), "format": _FORMAT}
    save_values(path, values)


def save_values(path: Path, values: Any) -> None:
    """Write tensors and what holds them, whole or not at all. Raises DatasetError."""
    with whole_file(path) as temporary:
        try:
            torch.save(values, temporary)
        except RuntimeError as error:  # of torch's writer, whatever the system said
            raise DatasetError(f"{path}: cannot be written ({first_line(error)}); is the disk full?") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; no code in the file is run."""
    if not path.is_file():
        raise ModelError(f"{path} is missing: give a checkpoint written by hfnet train")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly every kind for damaged files
        raise ModelError(f"{path} is no readable checkpoint ({first_line(error)})") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a checkpoint of this version ({_FORMAT}): train again or export elsewhere")
    del values["format"]
    try:
        return Checkpoint(**(values | {"spec": spec_of(values["spec"])}))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no readable checkpoint ({type(error).__name__})") from error


def save_network(network: HFNet, path: Path) -> None:
    """A checkpoint of a finished network: only its weights matter, no run goes on from it."""
    no_run: tuple[Any, ...] = ({}, *[torch.zeros(0)] * 3)
    save_checkpoint(path, Checkpoint("finished", 0, 0.0, network.spec, network.state_dict(), *no_run))
