"""Definitions of messages, which a recording brings along: rosbags makes a program of them and runs it.

The grammar keeps words of others out of that program, but not its length, nor how long it runs: an array of ten
thousand texts becomes ten thousand lines of it, and a list of messages of nothing may have any length in no bytes at
all. What no message needs is refused before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rosbags.highlevel import anyreader
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from hfnet_core.errors import DatasetError
from hfnet_core.limits import DEFINITION

__all__ = ["bound_definitions", "store_of", "types_from_idl", "types_from_msg"]

_MOST_UNROLLED = 1000  # items of an array of texts or messages whose length is fixed
_LISTS = (Nodetype.ARRAY, Nodetype.SEQUENCE)
_DEEPEST = 100  # messages in messages
_FILLER = "structure_needs_at_least_one_member"  # of a message of nothing, in ROS 2
_register = Typestore.register


def types_from_msg(text: str, name: str) -> dict[str, Any]:
    """Types by name, of a definition in ROS's own language. Raises DatasetError, and what rosbags raises for damage."""
    _check_length(text, name)
    return dict(get_types_from_msg(text, name))


def types_from_idl(text: str) -> dict[str, Any]:
    """Types by name, of a definition in OMG's language. Raises as `types_from_msg`."""
    _check_length(text, "IDL")
    return dict(get_types_from_idl(text))


def bound_definitions() -> None:
    """Put these in the place of rosbags' own in this process. Doing it twice changes nothing."""
    anyreader.get_types_from_msg = types_from_msg
    anyreader.get_types_from_idl = types_from_idl
    Typestore.register = _checked_register


def store_of(types: Mapping[str, Any], names: Iterable[str]) -> Any:
    """A rosbags typestore for messages of these names, with what they are made of: each type takes a millisecond.

    Raises DatasetError, and what rosbags raises for damage.
    """
    needed: dict[str, Any] = {}
    waiting = [name for name in names if name in types]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = types[name]
            items = (rest[0] if kind in _LISTS else (kind, rest) for _, (kind, rest) in types[name][1])
            waiting += [inner for kind, inner in items if kind == Nodetype.NAME and inner in types]
    store = get_typestore(Stores.EMPTY)
    store.register(needed)
    return store


def _check_length(text: str, name: str) -> None:
    if len(text) > DEFINITION.value():
        size = f"{len(text) / 1e3:.0f} kB"
        raise DatasetError(f"the definition of {name!r} has {size}, more than the limit of {DEFINITION}")


def _checked_register(self: Any, types: dict[str, Any]) -> None:
    """All types of a recording, together: one may be made of others."""
    nothing = _Nothing(types)
    for name, (_, fields) in types.items():
        for field, (kind, rest) in fields:
            if kind not in _LISTS:
                continue
            item, count = rest
            if kind == Nodetype.ARRAY and _is_unrolled(item) and count > _MOST_UNROLLED:
                raise DatasetError(f"field {field!r} of {name!r} is an array of {count}: no message of any use")
            if item[0] == Nodetype.NAME and nothing.includes(item[1]):
                raise DatasetError(f"field {field!r} of {name!r} is a list of messages of nothing: it may never end")
    _register(self, types)


def _is_unrolled(item: Any) -> bool:
    """Whether rosbags writes a line for every item: numbers are read at once."""
    return bool(item[0] != Nodetype.BASE or item[1][0] in ("string", "wstring"))


class _Nothing:
    """Which messages may take no bytes, as those of ROS 1 do that have no fields."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self._types, self._known = types, dict[str, bool]()

    def includes(self, name: str, depth: int = 0) -> bool:
        """Raises DatasetError for a message that contains itself."""
        if depth > _DEEPEST:
            raise DatasetError(f"{name!r} contains itself, or more than {_DEEPEST} messages in each other")
        if name not in self._known:
            fields = self._types[name][1] if name in self._types else [(name, (Nodetype.BASE, ("uint8", 0)))]
            self._known[name] = all(field == _FILLER or self._is_nothing(what, depth) for field, what in fields)
        return self._known[name]

    def _is_nothing(self, what: Any, depth: int) -> bool:
        kind, rest = what
        if kind == Nodetype.NAME:
            return self.includes(rest, depth + 1)
        if kind == Nodetype.ARRAY and rest[0][0] == Nodetype.NAME:
            return not rest[1] or self.includes(rest[0][1], depth + 1)
        return False
