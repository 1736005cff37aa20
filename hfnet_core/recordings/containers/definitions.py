"""Definitions of messages, which a recording brings along: rosbags makes a program of them and runs it.

The grammar keeps words of others out of that program, but not its length: an array of ten thousand texts becomes ten
thousand lines of it. What no message needs is refused before.
"""

from __future__ import annotations

from typing import Any

from rosbags.highlevel import anyreader
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_idl, get_types_from_msg

from hfnet_core.errors import DatasetError
from hfnet_core.limits import DEFINITION

__all__ = ["bound_definitions", "types_from_idl", "types_from_msg"]

_MOST_UNROLLED = 1000  # items of an array of texts or messages whose length is fixed


def types_from_msg(text: str, name: str) -> dict[str, Any]:
    """Types by name, of a definition in ROS's own language. Raises DatasetError, and what rosbags raises for damage."""
    _check_length(text, name)
    return _checked(dict(get_types_from_msg(text, name)))


def types_from_idl(text: str) -> dict[str, Any]:
    """Types by name, of a definition in OMG's language. Raises as `types_from_msg`."""
    _check_length(text, "IDL")
    return _checked(dict(get_types_from_idl(text)))


def bound_definitions() -> None:
    """Put these in the place of rosbags' own in this process. Doing it twice changes nothing."""
    anyreader.get_types_from_msg = types_from_msg
    anyreader.get_types_from_idl = types_from_idl


def _check_length(text: str, name: str) -> None:
    if len(text) > DEFINITION.value():
        raise DatasetError(
            f"the definition of {name!r} has {len(text) / 1e3:.0f} kB, more than the limit of {DEFINITION}"
        )


def _checked(types: dict[str, Any]) -> dict[str, Any]:
    for name, (_, fields) in types.items():
        for field, (kind, rest) in fields:
            if kind == Nodetype.ARRAY and _is_unrolled(rest[0]) and rest[1] > _MOST_UNROLLED:
                raise DatasetError(f"field {field!r} of {name!r} is an array of {rest[1]}: no message of any use")
    return types


def _is_unrolled(item: Any) -> bool:
    """Whether rosbags writes a line for every item: numbers are read at once."""
    return bool(item[0] != Nodetype.BASE or item[1][0] in ("string", "wstring"))
