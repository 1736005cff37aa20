"""The keys of a calibration, each of which is understood, known to say nothing of the camera, or an error."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from hfnet_core.errors import DatasetError

__all__ = ["Fields", "integer", "number", "numbers", "plain_name"]

_MOST_VALUES = 64
_MOST_PIXELS = 1_000_000
# A key with one of these words says how, when or with what was calibrated, or how the camera runs.
_BESIDE_WORDS = """
    author avg board boards calibrated calibration calibrator checkerboard comment comments company computer
    corner corners date datetime description detected device elapsed error errors exposure file filename
    filenames files firmware flags fps frame frames framerate gain header hostname id images info license
    maker manufacturer marker mean method name nframes note notes num number path pattern per point points
    product publisher rate residual residuals rms rmse reproj reprojection rostopic sample samples seq sensor
    serial sn software source square stamp std stddev target temperature time timestamp title topic unit units
    user uuid vendor version view views
"""
_BESIDE = frozenset(_BESIDE_WORDS.split())


def plain_name(key: object) -> str:
    """A key in one spelling: imageWidth, Image-Width and image_width are one."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "_", str(key).strip())
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


class Fields:
    """A mapping that knows which of its keys were asked for.

    where: what it is, for messages.
    """

    def __init__(self, content: Mapping[Any, Any], where: str = "calibration") -> None:
        self._where = where
        self._original = {plain_name(key): str(key) for key in content}
        self._values = {plain_name(key): value for key, value in content.items()}
        self._asked: set[str] = set()
        if len(self._values) != len(content):
            names = [plain_name(key) for key in content]
            twice = next(name for name in names if names.count(name) > 1)
            raise DatasetError(f"{where} has {twice!r} twice, in two spellings")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def take(self, *names: str, default: Any = None) -> Any:
        """The value of whichever of these keys is there. Raises DatasetError where two of them are."""
        found = [name for name in names if name in self._values]
        self._asked.update(found)
        if len(found) > 1:
            both = " and ".join(repr(self._original[name]) for name in found)
            raise DatasetError(f"{self._where} has both {both}: leave one")
        value = self._values[found[0]] if found else None
        return default if value is None else value

    def require(self, *names: str) -> Any:
        """The same. Raises DatasetError where none is."""
        value = self.take(*names)
        if value is None:
            raise DatasetError(f"{self._where} lacks {names[0]!r}")
        return value

    def text(self, name: str) -> str | None:
        """The value of a key where it is text without numbers, such as a model's name; None otherwise."""
        value = self._values.get(name)
        if not isinstance(value, str) or any(character.isdigit() for character in value):
            return None
        self._asked.add(name)
        del self._values[name]
        return value

    def finish(self, beside: Collection[str] = ()) -> None:
        """Raises DatasetError for keys that nobody asked for, except those `beside` and what says nothing of optics."""
        for name in self._values:
            known = name in self._asked or name in beside
            if not known and not _BESIDE.intersection(name.split("_")):
                raise DatasetError(
                    f"{self._where} has {self._original[name]!r}, which is not understood: rename it, or remove it if "
                    "it does not change what the camera sees"
                )


def number(value: Any, name: str) -> float:
    """A finite number. Raises DatasetError naming the key."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    found = math.nan
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.nan
    if not math.isfinite(found):
        comma = "; decimals have a point" if isinstance(value, str) and "," in value else ""
        raise DatasetError(f"{name} = {str(value)[:40]!r} is no number{comma}")
    return found


def integer(value: Any, name: str) -> int:
    """A size in pixels. Raises DatasetError naming the key."""
    found = number(value, name)
    if found != int(found) or not 0 <= found <= _MOST_PIXELS:
        raise DatasetError(f"{name} = {found:g} is no size in pixels")
    return int(found)


def numbers(value: Any, name: str) -> list[float]:
    """Numbers of a list, nested or not, of the `data` of a matrix, or of a text with blanks between them.

    Raises DatasetError naming the key.
    """
    if isinstance(value, Mapping):
        if "data" not in value:
            raise DatasetError(f"{name} is a matrix without data")
        value = value["data"]
    out: list[float] = []
    _collect(value, name, out, 0)
    return out


def _collect(value: Any, name: str, out: list[float], depth: int) -> None:
    if isinstance(value, str):
        value = value.replace("[", " ").replace("]", " ").replace(";", " ").replace(",", " ").split()
        if len(value) == 1:
            value = value[0]
    if isinstance(value, (list, tuple)):
        if depth > 3 or len(out) + len(value) > _MOST_VALUES:
            raise DatasetError(f"{name} has more than {_MOST_VALUES} values")
        for item in value:
            _collect(item, name, out, depth + 1)
    else:
        out.append(number(value, name))
