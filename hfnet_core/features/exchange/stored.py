"""A source of features that were made elsewhere: a folder of `.npz`, or hloc's `.h5`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.checking import Entered, RawFeatures, checked_features, global_of
from hfnet_core.features.exchange.hloc_files import HlocFile
from hfnet_core.features.exchange.npz_files import NpzFeatures, read_npz
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.types import Features

__all__ = ["StoredFeatures"]


class StoredFeatures:
    """A `NamedSource`: features by the names of images.

    Of dense files, which may list every pixel, the strongest `config.max_keypoints` are taken. Where the files tell
    which network made them, as ours do, that is what a map is bound to; of others only the sizes of descriptors tell
    them apart.
    """

    def __init__(self, paths: Sequence[Path], config: ExtractorConfig | None = None) -> None:
        """paths: a folder of `.npz`; or files of hloc, of which the first that has an image tells its keypoints and
        the first that has its global descriptor that. Raises DatasetError where there are none, MissingExtraError."""
        self.config = ExtractorConfig() if config is None else config
        self._source = paths[0] if paths else Path()
        self._folder = self._source if self._source.is_dir() else None
        self._files = [] if self._folder is not None else [HlocFile(path) for path in paths]
        self.info = self._model_info()

    def of(self, name: str) -> _OneImage:
        return _OneImage(self, name)

    def extract(self, image: NDArray[Any]) -> Features:
        """Raises DatasetError: files know images by name, see `of`."""
        raise DatasetError(f"{self._source}: features from files are found by the name of an image; this one has none")

    @property
    def has_global(self) -> bool:
        """Whether the first image has a global descriptor."""
        return self.info.spec.global_dim > 0

    def entered(self, name: str, size: tuple[int, int]) -> Entered:
        """Features of an image of (width, height), all that the file has, and their numbers in it.

        Raises DatasetError where there are none or they do not fit.
        """
        where = f"{self._source}: {name}"
        if self._folder is not None:
            stored = self._npz(name)
            self._same_size(stored.size, size, where)
            raw = stored.raw(size, self.config.max_keypoints)
        else:
            raw = self._hloc(name, size, where)
        entered = checked_features(raw, size, where)
        found = entered.features
        dims, spec = (found.descriptors.shape[1], len(found.global_descriptor)), self.info.spec
        if dims != (spec.local_dim, spec.global_dim):
            raise DatasetError(
                f"{where}: has descriptors of {dims[0]} and {dims[1]} numbers, other images {spec.local_dim} and "
                f"{spec.global_dim}: they are not of one kind"
            )
        return entered

    def _hloc(self, name: str, size: tuple[int, int], where: str) -> RawFeatures:
        called = _names(name)
        found = ((stored, own) for stored in self._files for own in called if "keypoints" in stored.keys(own))
        stored, own = next(found, (None, name))
        if stored is None:
            raise DatasetError(f"{where}: no features of this image in the file; it names images by their path")
        self._same_size(stored.size(own), size, where)
        raw = stored.features(own)
        if raw.global_descriptor is not None:
            return raw
        everywhere = (other.global_descriptor(own) for other in self._files for own in called)
        return replace(raw, global_descriptor=next((value for value in everywhere if value is not None), None))

    def _same_size(self, stored: tuple[int, int] | None, size: tuple[int, int], where: str) -> None:
        if stored is not None and stored != size:
            raise DatasetError(
                f"{where}: features are of an image of {stored[0]}x{stored[1]}, this one has {size[0]}x{size[1]}"
            )

    def _npz(self, name: str) -> NpzFeatures:
        assert self._folder is not None
        for candidate in _names(name):
            for path in (self._folder / f"{candidate}.npz", (self._folder / candidate).with_suffix(".npz")):
                if path.is_file():
                    return read_npz(path)
        raise DatasetError(f"{self._folder}: no features {PurePosixPath(name).with_suffix('.npz')} of image {name}")

    def _samples(self) -> Iterator[tuple[str, RawFeatures]]:
        """(model hash, arrays) of images in order of their names."""
        if self._folder is not None:
            for path in sorted(self._folder.rglob("[!.]*.npz")):  # hidden ones are half written
                stored = read_npz(path)
                yield stored.model_hash, stored.raw(stored.size or (1, 1), 1)
            return
        for file in self._files:
            for name in file.names():
                if "keypoints" in file.keys(name):
                    yield file.model_hash, self._hloc(name, file.size(name) or (1, 1), f"{file.path}: {name}")

    def _model_info(self) -> ModelInfo:
        found = next(self._samples(), None)
        if found is None:
            raise DatasetError(f"{self._source}: holds no features; give a folder of .npz or a file .h5 of hloc")
        model_hash, raw = found
        local = int(raw.descriptors.shape[1]) if raw.descriptors.ndim == 2 else 0
        everywhere = len(global_of(raw.global_descriptor, str(self._source)))
        if not local:
            raise DatasetError(f"{self._source}: its descriptors are {list(raw.descriptors.shape)}, not one a keypoint")
        spec = NetworkSpec(local_dim=local, global_dim=everywhere, clusters=0, corner_aligned=False)
        identity = model_hash or hashlib.sha256(f"features from files {local} {everywhere}".encode()).hexdigest()
        return ModelInfo("features from files", "1", identity, spec, "unknown", subpixel=True)


class _OneImage:
    """What files say of one image."""

    def __init__(self, stored: StoredFeatures, name: str) -> None:
        self._stored, self._name = stored, name

    @property
    def info(self) -> ModelInfo:
        return self._stored.info

    def extract(self, image: NDArray[Any]) -> Features:
        height, width = np.asarray(image).shape[:2]
        return self._stored.entered(self._name, (width, height)).features


def _names(name: str) -> tuple[str, ...]:
    """What an image may be called; images of a build's only recording also without its number."""
    first, slash, rest = name.partition("/")
    return (name, rest) if slash and first == "0" else (name,)
