"""The .ini file of ROS camera_calibration (and of videre before it)."""

from __future__ import annotations

import re

from hfnet_core.errors import DatasetError
from hfnet_core.recordings.calibration.files.fields import Fields
from hfnet_core.recordings.calibration.files.flat import read_fields
from hfnet_core.recordings.calibration.files.found import FileCamera

__all__ = ["is_ini", "read_ini"]

_SECTION = re.compile(r"^\[([^\[\]\n]*)\]\s*$", re.MULTILINE)
_IMAGE = "image"
_WORDS = re.compile(r"[A-Za-z][A-Za-z _]*")
_BESIDE_SECTIONS = ("externals",)


def is_ini(text: str) -> bool:
    """Whether this is one."""
    return any(name.strip().lower() == _IMAGE for name in _SECTION.findall(text))


def read_ini(text: str, *, rectified: bool = False) -> list[FileCamera]:
    """Its cameras, named after their sections. Raises DatasetError."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    parts = _SECTION.split("\n".join(lines))
    sections = {parts[index].strip(): _values(parts[index + 1]) for index in range(1, len(parts), 2)}
    image = next(values for name, values in sections.items() if name.lower() == _IMAGE)
    out = []
    for name, values in sections.items():
        if name.lower() == _IMAGE or name.lower() in _BESIDE_SECTIONS:
            continue
        renamed = {
            {"projection": "projection_matrix", "rectification": "rectification_matrix"}.get(key, key): value
            for key, value in values.items()
        }
        out.append(read_fields(Fields({**image, **renamed}, f"section [{name}]"), name, rectified=rectified))
    if not out:
        raise DatasetError("has no section of a camera")
    return out


def _values(section: str) -> dict[str, str]:
    """Names, each on a line of its own, with the lines of numbers below them."""
    out: dict[str, str] = {}
    name = ""
    for raw in section.splitlines():
        line = raw.strip()
        if not line:
            continue
        if "=" in line:
            name, _, value = (part.strip() for part in line.partition("="))
            out[name] = value
        elif _WORDS.fullmatch(line):
            name = line
            out[name] = ""
        elif name:
            out[name] = f"{out[name]} {line}".strip()
        else:
            raise DatasetError(f"{line[:40]!r} stands below no name")
    return out
