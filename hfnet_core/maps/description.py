"""What a map file says beside its arrays, checked once, where it enters. Whatever does not fit is a MapError."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hfnet_core.errors import ConfigError, MapError
from hfnet_core.georeference.datum import Georeference
from hfnet_core.types import Camera

__all__ = [
    "Description",
    "checked_camera",
    "checked_description",
    "parse_json",
    "recording_number",
    "recordings_of",
]

_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_DEPTH = 64  # of tables and lists in each other; ours have six, and two more with each map merged in
_MAX_NAME = 4096  # characters of a keyframe's name, the longest path of a file
_MAX_FRAME = 255  # characters of the name of a frame
MAX_SIGMA_M = 1e3
_TABLES = ("statistics", "loop_closures", "model", "structure", "scale")  # of provenance
_LISTS_OF_TABLES = ("recordings", "history")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Description:
    """See LandmarkMap for what these mean."""

    cameras: tuple[Camera, ...]
    given_cameras: tuple[Camera, ...]
    keyframe_names: tuple[str, ...]
    frame_id: str
    model_hash: str
    pose_sigma_m: float
    pose_sigma_rad: float
    provenance: Mapping[str, Any]


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, is nested too deeply, or holds half a character.

    Half a character (a lone surrogate) cannot be written anywhere: not into a log, a message or a file.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _depth(value) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    if _SURROGATE.search(text):  # found fast where there are none; pairs of them are characters
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("a text with half a character in it") from error
    return value


def _depth(value: Any) -> int:
    level: list[Any] = [value]
    depth = 0
    while level and depth <= _MAX_DEPTH:
        depth += 1
        below: list[Any] = []
        for item in level:
            inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
            below.extend(child for child in inner if isinstance(child, dict | list))
        level = below
    return depth


def checked_description(known: Any) -> Description:
    """The description of a map from what `parse_json` gave. Raises MapError naming the entry and what is wrong."""
    if not isinstance(known, dict):
        raise MapError("its description is no table")
    given = _list(known, "given_cameras")
    return Description(
        tuple(checked_camera(entry, f"camera {index}") for index, entry in enumerate(_list(known, "cameras"))),
        tuple(checked_camera(entry, f"given camera {index}") for index, entry in enumerate(given)),
        tuple(_name(name) for name in _list(known, "keyframe_names")),
        _frame(_entry(known, "frame_id")),
        _hash(_entry(known, "model_hash")),
        _sigma(known, "pose_sigma_m", MAX_SIGMA_M),
        _sigma(known, "pose_sigma_rad", math.pi),
        _provenance(_table(known, "provenance")),
    )


def _entry(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise MapError(f"its description lacks {name}")
    return known[name]


def _list(known: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = _entry(known, name)
    if not isinstance(value, list):
        raise MapError(f"its description has no list of {name}")
    return value


def _table(known: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = _entry(known, name)
    if not isinstance(value, dict):
        raise MapError(f"its description has no table of {name}")
    return value


def _provenance(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is read of it must be of the right kind; the rest is only shown."""
    fits = all(isinstance(provenance.get(name, {}), dict) for name in _TABLES)
    fits = fits and all(
        isinstance(provenance.get(name, []), list) and all(isinstance(item, dict) for item in provenance.get(name, []))
        for name in _LISTS_OF_TABLES
    )
    structure = provenance.get("structure") if fits else None
    if structure:
        fits = all(type(structure.get(name)) is int for name in ("registered", "images", "left_out_count"))
        left_out = structure.get("left_out")
        fits = fits and isinstance(left_out, list) and all(isinstance(name, str) for name in left_out)
    if not fits or (provenance.get("scale") and "source" not in provenance["scale"]):
        raise MapError("its provenance is damaged")
    Georeference.of(provenance)
    return provenance


def checked_camera(entry: Any, what: str) -> Camera:
    """A camera from JSON. Raises MapError."""
    try:
        model, size, params = entry["model"], (entry["width"], entry["height"]), entry["params"]
        fits = type(model) is str and all(type(side) is int for side in size) and isinstance(params, list)
        if fits and all(type(value) in (int, float) for value in params):
            return Camera(model, *size, tuple(float(value) for value in params))
    except ConfigError as error:
        raise MapError(f"{what} of the map: {error}") from error
    except (KeyError, TypeError, OverflowError) as error:
        raise MapError(f"{what} of the map is damaged ({type(error).__name__})") from error
    raise MapError(f"{what} of the map is damaged: its model is no text or its numbers are none")


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise MapError(f"a keyframe's name is no text or longer than {_MAX_NAME} characters")
    return name


def _frame(frame: Any) -> str:
    if not isinstance(frame, str) or not 0 < len(frame) <= _MAX_FRAME:
        raise MapError(f"frame_id is no text of 1 to {_MAX_FRAME} characters")
    if any(unicodedata.category(character).startswith("C") for character in frame):
        raise MapError(f"frame_id {frame!r} has control characters")
    return frame


def _hash(value: Any) -> str:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise MapError("model_hash is no SHA-256 in hexadecimal")
    return value


def _sigma(known: Mapping[str, Any], name: str, largest: float) -> float:
    value = _entry(known, name)
    if type(value) not in (int, float) or not 0 <= value <= largest:  # False for NaN
        raise MapError(f"{name} {str(value)[:20]} is not between 0 and {largest:g}")
    return float(value)


def recording_number(name: str) -> int:
    """The recording of a keyframe called RECORDING/IMAGE, -1 where the name does not tell."""
    text, slash, _ = name.partition("/")
    return int(text) if slash and text.isascii() and text.isdigit() and len(text) < 9 else -1


def recordings_of(names: Sequence[str], provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a map tells of its recordings. names: of its keyframes. `number` is the one that these begin with, -1 where
    the map does not tell: it was made by a program that did not number recordings, and pruned and merged since."""
    told = [dict(item) if isinstance(item, Mapping) else {} for item in provenance.get("recordings", [])]
    numbers = [recording_number(name) for name in names]
    in_order = min(numbers, default=-1) >= 0 and max(numbers) + 1 == len(told)
    for place, item in enumerate(told):
        if not isinstance(item.get("number"), int):
            item["number"] = place if in_order else -1
    return told
