"""Features of a folder of images or a recording written to files, one image after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.evaluation.offline import is_bag
from hfnet_core.features.exchange.hloc_files import HlocFile
from hfnet_core.features.exchange.hloc_writing import append_features
from hfnet_core.features.exchange.npz_files import read_npz, write_npz
from hfnet_core.features.sources import FeatureSource, extract_named
from hfnet_core.files import make_folder
from hfnet_core.images.preparation import Preparation
from hfnet_core.images.reading import IMAGE_SUFFIXES, read_image, significant_bits_of
from hfnet_core.images.sixteen_bit import FULL_BITS, at_full_range
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Features

__all__ = ["ExportOptions", "Exported", "export_features"]

_log = logging.getLogger(__name__)
_HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class ExportOptions:
    """dense: the map of descriptors instead of those at keypoints (`.npz` only). overwrite: images that are there
    already. global_output: hloc's second file, of global descriptors. recording: what there is to tell about a bag."""

    dense: bool = False
    overwrite: bool = False
    global_output: Path | None = None
    recording: BagOptions | None = None


@dataclass(frozen=True)
class Exported:
    """How many images were written, how many were there already, and what was wrong with the others."""

    written: int
    present: int
    broken: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Item:
    """An image to describe. bits: that 16-bit files hold."""

    name: str
    path: Path | None
    image: NDArray[Any] | None = None
    preparation: Preparation | None = None
    bits: int = FULL_BITS

    def pixels(self) -> NDArray[Any]:
        if self.path is not None:
            return at_full_range(read_image(self.path), self.bits)
        assert self.image is not None
        return self.image


def export_features(
    images: Path,
    output: Path,
    source: FeatureSource,
    options: ExportOptions | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write features of every image below a folder, or of a recording (named by their numbers, six digits).

    output: a folder, which gets an `.npz` for each image under its path, or a file `.h5` as hloc has it. An image that
    cannot be used is a line in the log. Raises ConfigError for options that do not go together, DatasetError where
    there are no images or nothing can be written, MissingExtraError without h5py.
    """
    options = options or ExportOptions()
    into_hdf5 = output.suffix.lower() in _HDF5
    if into_hdf5 and options.dense:
        raise ConfigError("--dense writes .npz, which hloc has no place for: give a folder instead of a file .h5")
    if options.global_output is not None and not into_hdf5:
        raise ConfigError("--global-output goes with a file .h5: an .npz holds the global descriptor as well")
    listed = None if is_bag(images) else _list_images(images)
    if listed is not None and not into_hdf5:
        _check_distinct([item.name for item in listed])
    items = iter(listed) if listed is not None else _of_bag(images, options.recording)
    there: Callable[[str], bool] = lambda _: False  # noqa: E731
    if not options.overwrite:
        _check_network(output, source, into_hdf5=into_hdf5)
        there = _there(output, options.global_output, into_hdf5=into_hdf5)
    work = _Work(source, there, len(listed or ()), progress)
    described = work.describe(items)
    if into_hdf5:
        model_hash = source.info.model_hash
        written = append_features(output, described, model_hash=model_hash, globals_path=options.global_output)
    else:
        written = _write_folder(output, described, source, dense=options.dense)
    if not written and not work.present:
        first = work.broken[0] if work.broken else "none there"
        raise DatasetError(f"{images}: none of its images could be used, first {first}")
    return Exported(written, work.present, tuple(work.broken))


class _Work:
    """Describes images one by one. present: how many were there already. broken: what is wrong with those left out."""

    def __init__(self, source: FeatureSource, there: Callable[[str], bool], total: int, progress: Progress) -> None:
        self._source, self._there, self._total, self._progress = source, there, total, progress
        self.present = 0
        self.broken: list[str] = []

    def describe(self, items: Iterable[_Item]) -> Iterator[tuple[str, Features]]:
        """Names and features of those that are not there and can be used."""
        for done, item in enumerate(items, start=1):
            if self._there(item.name):
                self.present += 1
            else:
                yield from self._described(item)
            self._progress("describing images", done, self._total)

    def _described(self, item: _Item) -> Iterator[tuple[str, Features]]:
        try:
            features = extract_named(self._source, item.pixels(), item.name, item.preparation)
        except DatasetError as error:
            self.broken.append(str(error))
            _log.warning("%s: left out (%s)", item.name, error)
            return
        yield item.name, features


def _write_folder(
    folder: Path, described: Iterable[tuple[str, Features]], source: FeatureSource, *, dense: bool
) -> int:
    """An `.npz` for each. Returns how many."""
    count = 0
    for name, features in described:
        target = _npz_of(folder, name)
        make_folder(target.parent)
        write_npz(target, features, source.info, dense=dense)
        count += 1
    return count


def _npz_of(folder: Path, name: str) -> Path:
    return folder / PurePosixPath(name).with_suffix(".npz")


def _check_network(output: Path, source: FeatureSource, *, into_hdf5: bool) -> None:
    """Raises ConfigError where features of another network, or other settings, are there: who reads them is told of one
    alone."""
    known = _hash_in(output, into_hdf5=into_hdf5)
    if known and known != source.info.model_hash:
        raise ConfigError(
            f"{output}: holds features of another network ({known[:12]}, these are of {source.info.model_hash[:12]}); "
            "choose another output, or --overwrite"
        )


def _hash_in(output: Path, *, into_hdf5: bool) -> str:
    """Of the network that an earlier export was made with, "" where there is none."""
    if into_hdf5:
        if not output.is_file():
            return ""
        with HlocFile(output) as stored:
            return stored.model_hash
    first = min(output.rglob("*.npz"), default=None)
    return "" if first is None else read_npz(first).model_hash


def _there(output: Path, global_output: Path | None, *, into_hdf5: bool) -> Callable[[str], bool]:
    """Whether an unfinished export has written an image."""
    if not into_hdf5:
        return lambda name: _npz_of(output, name).is_file()
    present = _present(output, {"keypoints", "descriptors", "scores"})
    if global_output is not None:
        present &= _present(global_output, {"global_descriptor"})
    return present.__contains__


def _list_images(folder: Path) -> list[_Item]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of images")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no image in this folder or below")
    bits = significant_bits_of(found)
    return [_Item(path.relative_to(folder).as_posix(), path, bits=bits) for path in found]


def _check_distinct(names: list[str]) -> None:
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        bare = PurePosixPath(name).with_suffix("")
        if bare in seen:
            raise ConfigError(f"{seen[bare]} and {name} would both become {bare}.npz: rename one, or write a file .h5")
        seen[bare] = name


def _present(output: Path, wanted: set[str]) -> set[str]:
    """What an unfinished export has written, complete images only."""
    if not output.is_file():
        return set()
    with HlocFile(output) as stored:
        return {name for name in stored.names() if wanted <= set(stored.keys(name))}


def _of_bag(path: Path, options: BagOptions | None) -> Iterator[_Item]:
    with Bag(path, options) as bag:
        for frame in bag.frames():
            yield _Item(frame.name, None, frame.image, frame.preparation)
