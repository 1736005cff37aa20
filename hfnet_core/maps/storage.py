"""Maps on disk: one file NAME.hfmap, described in maps/README.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import ConfigError, MapError
from hfnet_core.maps.description import checked_description, parse_json
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.tensor_file import Pieces, TensorFile, read_tensors, write_tensors

__all__ = [
    "FORMAT",
    "MAP_SUFFIX",
    "VERIFY_UP_TO_BYTES",
    "VERSION",
    "check_output",
    "describe",
    "load_map",
    "save_map",
    "verify_map",
    "write_map",
]

FORMAT = "hfmap"
VERSION = 3
MAP_SUFFIX = ".hfmap"
# Hashing 256 MB takes a fraction of a second, which a user does not notice; larger maps open at once instead.
VERIFY_UP_TO_BYTES = 256_000_000

_DTYPES: dict[str, tuple[str, ...]] = {
    "keyframe_cameras": ("i4",),
    "keyframe_stamps_ns": ("i8",),
    "keyframe_poses": ("f8",),
    "global_descriptors": ("f4",),
    "landmarks_xyz": ("f4",),
    "landmark_offsets": ("i8",),
    "observation_keyframes": ("i4",),
    "observation_px": ("f4",),
    "observation_descriptors": ("i1", "f2"),
    "keyframe_offsets": ("i8",),
    "keyframe_observations": ("i8",),
    "covisible_offsets": ("i8",),
    "covisible_keyframes": ("i4",),
    "covisible_weights": ("i4",),
}
_DERIVED: dict[str, tuple[str, ...]] = {
    "keyframe_landmarks": ("i4",),
    "landmark_descriptors": ("i1", "f2"),
    "place_descriptors": ("f4",),
}
# What some maps have, each group whole or not at all; programs that do not know these arrays read the others.
_OPTIONAL: tuple[dict[str, tuple[str, ...]], ...] = (
    {"alike_keyframes": ("i4",), "alike_poses": ("f8",)},
    {"landmark_sigmas_m": ("f4",)},
    {"landmark_hits": ("i4",), "landmark_misses": ("i4",)},
    {"scale_factors": ("f4",), "scaled_descriptors": ("i1", "f2")},
)
# What a version stores of it; version 1 also knows descriptors as float16 only.
_STORED: dict[str, tuple[str, ...]] = {
    "1": (),
    "2": ("keyframe_landmarks", "landmark_descriptors"),
    str(VERSION): tuple(_DERIVED),
}


def check_output(path: Path) -> None:
    """Raises ConfigError, before any work, when a map cannot be written there."""
    if path.suffix != MAP_SUFFIX:
        raise ConfigError(f"{path}: a map's name ends in {MAP_SUFFIX}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such directory to write a map into")


def save_map(landmark_map: LandmarkMap, path: Path) -> None:
    """Write a map, complete or not at all; the same map gives the same bytes.

    Raises ConfigError for a name that does not end in .hfmap, MapError where the file cannot be written or the map's
    arrays contradict each other.
    """
    landmark_map.check()
    wanted = {**_DTYPES, **_DERIVED}
    for group in _OPTIONAL:
        wanted |= group if len(getattr(landmark_map, next(iter(group)))) else {}
    arrays = {name: _as_one_of(getattr(landmark_map, name), dtypes) for name, dtypes in wanted.items()}
    write_map(path, arrays, describe(landmark_map))


def _as_one_of(array: NDArray[Any], dtypes: Sequence[str]) -> NDArray[Any]:
    return array if any(array.dtype == np.dtype(dtype) for dtype in dtypes) else array.astype(dtypes[-1])


def describe(landmark_map: LandmarkMap) -> dict[str, Any]:
    """What a map file says beside its arrays."""
    return {
        "cameras": [dataclasses.asdict(camera) for camera in landmark_map.cameras],
        "given_cameras": [dataclasses.asdict(camera) for camera in landmark_map.given_cameras],
        "keyframe_names": list(landmark_map.keyframe_names),
        "frame_id": landmark_map.frame_id,
        "model_hash": landmark_map.model_hash,
        "provenance": landmark_map.provenance,
        "pose_sigma_m": landmark_map.pose_sigma_m,
        "pose_sigma_rad": landmark_map.pose_sigma_rad,
    }


def write_map(path: Path, arrays: Mapping[str, NDArray[Any] | Pieces], description: Mapping[str, Any]) -> None:
    """Write a map whose arrays are known, all of them; `save_map` is for everybody else. Raises as it does."""
    if path.suffix != MAP_SUFFIX:
        raise ConfigError(f"{path}: a map's name ends in {MAP_SUFFIX}")
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, default=_plain)
    checked_description(parse_json(text))  # nothing is written that would be refused when it is read
    write_tensors(path, arrays, {"format": FORMAT, "version": str(VERSION), "description": text})


def _plain(value: Any) -> Any:
    """Numpy scalars and read-only mappings in provenance, as JSON knows them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"provenance holds a {type(value).__name__}, which a map file cannot keep")


def load_map(
    path: Path, model_hash: str | None = None, *, verify: bool | None = None, in_memory: bool = False
) -> LandmarkMap:
    """Open a map; its arrays are read-only, and memory-mapped unless they are wanted in_memory.

    model_hash: of the model that will query it; another one than the map's is refused with both hashes. verify:
    compare the arrays with their checksums and look at every number; None does so for files up to VERIFY_UP_TO_BYTES,
    `verify_map` later for the others. The header, indices and poses are always checked. Raises MapError, one line, for
    a file that is missing, cut off, foreign, damaged, of another version or made with another model.
    """
    path = Path(path)
    if not path.is_file():
        raise MapError(f"{path}: no such map; build one with `hfnet map build BAG -o {path}`")
    if verify is None:
        verify = path.stat().st_size <= VERIFY_UP_TO_BYTES
    stored = read_tensors(path, verify=verify, accept=lambda metadata: _accept(path, metadata), in_memory=in_memory)
    landmark_map = _assemble(path, stored)
    if verify:
        _check(path, landmark_map)
    if model_hash is not None and model_hash != landmark_map.model_hash:
        raise MapError(
            f"{path}: was built with model {landmark_map.made_with}, the query uses model {model_hash}: describe the "
            "map anew with `hfnet map upgrade MAP BAG... -o NEW`, or give the map's model (--model, model_file)"
        )
    return landmark_map


def verify_map(path: Path, landmark_map: LandmarkMap, between: Callable[[], None] = lambda: None) -> None:
    """What `load_map` leaves out for large maps: checksums and every number; takes seconds for each gigabyte.

    landmark_map: as it was loaded from `path`. between: called after every megabyte; what it raises ends the work.
    Safe to run in another thread while the map is in use. Raises MapError.
    """
    read_tensors(path, verify=True, accept=lambda metadata: _accept(path, metadata), between=between)
    _check(path, landmark_map)


def _accept(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise MapError(f"{path}: is no map file (format {metadata.get('format')!r})")
    if metadata.get("version") not in _STORED:
        raise MapError(
            f"{path}: is a map of version {metadata.get('version')}, this program reads {', '.join(_STORED)}: "
            "build it again"
        )


def _check(path: Path, landmark_map: LandmarkMap) -> None:
    try:
        landmark_map.check()
    except MapError as error:
        raise MapError(f"{path}: {error}") from error


def _assemble(path: Path, stored: TensorFile) -> LandmarkMap:
    derived = _STORED[stored.metadata["version"]]
    optional: dict[str, tuple[str, ...]] = {}
    for group in _OPTIONAL:
        optional |= group if any(name in stored.arrays for name in group) else {}
    wanted = _DTYPES | optional | {name: _DERIVED[name] for name in derived}
    for name, dtypes in wanted.items():
        if name not in stored.arrays:
            raise MapError(f"{path}: lacks array {name}: the file is damaged, build it again")
        found = stored.arrays[name].dtype
        if not any(found == np.dtype(dtype) for dtype in dtypes):
            raise MapError(f"{path}: array {name} has type {found}, expected {np.dtype(dtypes[0])}")
    arrays: dict[str, Any] = {name: stored.arrays[name] for name in (*_DTYPES, *optional)}
    try:
        known = checked_description(parse_json(stored.metadata.get("description", "null")))
        landmark_map = LandmarkMap(
            **arrays, **{item.name: getattr(known, item.name) for item in dataclasses.fields(known)}
        )
        landmark_map.adopt({name: stored.arrays[name] for name in derived})
        landmark_map.check_structure()
    except MapError as error:
        raise MapError(f"{path}: {error}; copy or build it again") from error
    except (ValueError, IndexError) as error:
        raise MapError(f"{path}: its description is damaged ({error}); build it again") from error
    return landmark_map
