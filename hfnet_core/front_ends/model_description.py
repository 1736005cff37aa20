"""A short YAML file that says how somebody's ONNX model wants images and gives features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hfnet_core.config.settings import Checked, from_mapping, setting
from hfnet_core.errors import ConfigError, first_line
from hfnet_core.files import read_text

__all__ = ["ModelDescription", "read_description"]

_MOST_CHANNELS = 4096


@dataclass(frozen=True)
class ModelDescription(Checked):
    """Everything that has to be known of a model; outputs are named, "" for those that it lacks."""

    model: str = setting("", "the ONNX file, relative to the description")
    name: str = setting("described model", "of the features; maps are bound to it and to the file")
    licence: str = setting("unknown", "of the weights, an SPDX identifier")
    input: str = setting("", "name of the image input; empty for the only one")
    channels: int = setting(1, "1 for gray, 3 for RGB", minimum=1, maximum=3)
    layout: str = setting("NCHW", "order of the input's dimensions", choices=("NCHW", "NHWC", "CHW", "HWC", "HW"))
    pixel_type: str = setting("float32", "type of the input's numbers", choices=("float32", "float16", "uint8"))
    scale: float = setting(1 / 255, "factor on pixels 0..255, before mean and deviation", minimum=0.0)
    mean: tuple[float, ...] = setting((0.0,), "subtracted after the scale: one number, or one for each channel")
    deviation: tuple[float, ...] = setting((1.0,), "divided by after that: one number, or one for each channel")
    width: int = setting(0, "width that images are resized to; 0 for any", unit="px", minimum=0, maximum=100_000)
    height: int = setting(0, "height that images are resized to; 0 for any", unit="px", minimum=0, maximum=100_000)
    multiple: int = setting(1, "both sides are cropped to a multiple of it", unit="px", minimum=1, maximum=1024)
    keypoints: str = setting("keypoints", "output [K, 2] (or [1, K, 2]); empty for dense outputs")
    scores: str = setting("scores", "output [K]; dense: [H, W] of every pixel")
    descriptors: str = setting("descriptors", "output of descriptors; dense: [D, h, w]; empty for none")
    global_descriptor: str = setting("", "output [G]")
    dim: int = setting(0, "numbers of a local descriptor; 0 where there are none", minimum=0, maximum=_MOST_CHANNELS)
    global_dim: int = setting(0, "numbers of the global descriptor", minimum=0, maximum=65_536)
    descriptor_layout: str = setting("KD", "a row or a column for each keypoint", choices=("KD", "DK"))
    keypoint_order: str = setting("xy", "of the two coordinates", choices=("xy", "yx"))
    keypoint_unit: str = setting("pixels", "0..1 or -1..1 are over the image", choices=("pixels", "unit", "signed"))
    keypoint_origin: str = setting("centre", "what (0, 0) is of the top-left pixel", choices=("centre", "corner"))
    corner_aligned: bool = setting(True, "dense: corners of the map of descriptors lie on corner pixels")

    @property
    def dense(self) -> bool:
        """Whether the model gives a score for every pixel, and keypoints are chosen here."""
        return not self.keypoints

    def fits_together(self, path: Path) -> None:
        """Raise ConfigError for what does not go together."""
        if not self.model:
            raise ConfigError(f"{path}: names no model; add `model: FILE.onnx`")
        if self.channels == 2 or (self.channels == 3 and self.layout == "HW"):
            raise ConfigError(f"{path}: channels {self.channels} do not go with layout {self.layout}")
        if bool(self.dim) != bool(self.descriptors) or bool(self.global_dim) != bool(self.global_descriptor):
            raise ConfigError(f"{path}: dim goes with descriptors and global_dim with global_descriptor: give both")
        if not self.dim:
            raise ConfigError(f"{path}: local descriptors are needed; give descriptors and dim")
        if bool(self.width) != bool(self.height):
            raise ConfigError(f"{path}: width and height go together")
        if any(len(values) not in (1, self.channels) for values in (self.mean, self.deviation)) or 0 in self.deviation:
            raise ConfigError(f"{path}: mean and deviation have one number or {self.channels}, never 0")


def read_description(path: Path) -> ModelDescription:
    """Raises ConfigError, DatasetError for a file that cannot be read."""
    try:
        content: Any = yaml.safe_load(read_text(path, "the description of a model"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML ({first_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: is no description of a model (`model: FILE.onnx`, ...)")
    try:
        found = from_mapping(ModelDescription, content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    found.fits_together(path)
    return found
