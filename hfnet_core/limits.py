"""How much a file or message may ask for. Whoever reads data of strangers asks here, before anything is allocated.

Each limit lies far above what honest files need. One that is too low for yours is raised by an environment variable
(`HFNET_MAX_IMAGE_MPX=400 hfnet map build ...`), which processes started by ours inherit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hfnet_core.errors import ConfigError

__all__ = [
    "ARCHIVE",
    "CHUNK",
    "DEFINITION",
    "FEATURES",
    "IMAGE",
    "IMAGE_FILE",
    "LIMITS",
    "MAP_HEADER",
    "METADATA",
    "MODEL",
    "RECONSTRUCTION",
    "TEXT",
    "Limit",
]

_PREFIX = "HFNET_MAX_"


@dataclass(frozen=True)
class Limit:
    """A largest size. name: what follows HFNET_MAX_ in its variable. factor: bytes or pixels in a unit."""

    name: str
    default: int
    unit: str
    factor: int
    help: str

    @property
    def variable(self) -> str:
        """Name of the environment variable that replaces the default."""
        return _PREFIX + self.name

    def value(self) -> int:
        """In bytes or pixels. Raises ConfigError where the variable is no positive whole number."""
        text = os.environ.get(self.variable, "")
        if not text:
            return self.default * self.factor
        if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9 and int(text)):
            raise ConfigError(f"{self.variable}: {text!r} is no positive whole number of {self.unit}")
        return int(text) * self.factor

    def __str__(self) -> str:
        return f"{self.value() // self.factor} {self.unit}, raised by {self.variable}"


IMAGE = Limit("IMAGE_MPX", 128, "megapixels", 10**6, "pixels of an image, and of the images of a camera")
IMAGE_FILE = Limit("IMAGE_FILE_MB", 1024, "MB", 10**6, "an image as it is stored")
TEXT = Limit("TEXT_MB", 64, "MB", 10**6, "text files: poses, lists of queries, calibrations")
MAP_HEADER = Limit("MAP_HEADER_MB", 100, "MB", 10**6, "what a map says beside its arrays")
MODEL = Limit("MODEL_MB", 1024, "MB", 10**6, "a network, the constants in it, and weights to import")
RECONSTRUCTION = Limit("RECONSTRUCTION_MB", 8192, "MB", 10**6, "each file of a COLMAP model")
FEATURES = Limit("FEATURES_MB", 2048, "MB", 10**6, "features of one image, or matches of one pair, read from files")
METADATA = Limit("METADATA_MB", 4, "MB", 10**6, "metadata.yaml of a recording")
CHUNK = Limit("CHUNK_MB", 512, "MB", 10**6, "a chunk or message of a recording, decompressed")
DEFINITION = Limit("DEFINITION_KB", 200, "kB", 10**3, "the definition of a message in a recording")
ARCHIVE = Limit("ARCHIVE_MB", 200_000, "MB", 10**6, "a recording compressed as a whole, decompressed to the disk")

LIMITS = (IMAGE, IMAGE_FILE, TEXT, MAP_HEADER, MODEL, RECONSTRUCTION, FEATURES, METADATA, CHUNK, DEFINITION, ARCHIVE)
