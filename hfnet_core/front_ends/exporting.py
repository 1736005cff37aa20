"""Features of a folder of images or a recording written to files, one image after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.evaluation.offline import is_bag
from hfnet_core.features.exchange.hloc_files import HlocFile, append_features
from hfnet_core.features.exchange.npz_files import write_npz
from hfnet_core.features.sources import FeatureSource, extract_named
from hfnet_core.images.preparation import Preparation
from hfnet_core.images.reading import IMAGE_SUFFIXES, read_image
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions

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
    """An image to describe. read: brings it."""

    name: str
    path: Path | None
    image: NDArray[Any] | None = None
    preparation: Preparation | None = None

    def pixels(self) -> NDArray[Any]:
        if self.path is not None:
            return read_image(self.path)
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
    present = _present(output) if into_hdf5 and not options.overwrite else set()
    total = len(listed) if listed is not None else 0
    items = iter(listed) if listed is not None else _of_bag(images, options.recording)
    written, already = 0, 0
    broken: list[str] = []
    for done, item in enumerate(items, start=1):
        target = None if into_hdf5 else output / PurePosixPath(item.name).with_suffix(".npz")
        if item.name in present or (target is not None and target.is_file() and not options.overwrite):
            already += 1
        elif _describe(item, target, output, source, options, broken):
            written += 1
        progress("describing images", done, total)
    if not written and not already:
        raise DatasetError(f"{images}: none of its images could be used, first {broken[0] if broken else 'none there'}")
    return Exported(written, already, tuple(broken))


def _describe(
    item: _Item, target: Path | None, output: Path, source: FeatureSource, options: ExportOptions, broken: list[str]
) -> bool:
    try:
        features = extract_named(source, item.pixels(), item.name, item.preparation)
    except DatasetError as error:
        broken.append(str(error))
        _log.warning("%s: left out (%s)", item.name, error)
        return False
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_npz(target, features, source.info, dense=options.dense)
    else:
        named = [(item.name, features)]
        append_features(output, named, model_hash=source.info.model_hash, globals_path=options.global_output)
    return True


def _list_images(folder: Path) -> list[_Item]:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder of images")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no image in this folder or below")
    return [_Item(path.relative_to(folder).as_posix(), path) for path in found]


def _check_distinct(names: list[str]) -> None:
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        bare = PurePosixPath(name).with_suffix("")
        if bare in seen:
            raise ConfigError(f"{seen[bare]} and {name} would both become {bare}.npz: rename one, or write a file .h5")
        seen[bare] = name


def _present(output: Path) -> set[str]:
    """What an unfinished export has written, complete images only."""
    if not output.is_file():
        return set()
    with HlocFile(output) as stored:
        return {name for name in stored.names() if {"keypoints", "descriptors", "scores"} <= set(stored.keys(name))}


def _of_bag(path: Path, options: BagOptions | None) -> Iterator[_Item]:
    with Bag(path, options) as bag:
        for frame in bag.frames():
            yield _Item(frame.name, None, frame.image, frame.preparation)
