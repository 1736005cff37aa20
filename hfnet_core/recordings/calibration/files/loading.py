"""The content of a text file that strangers wrote: JSON or YAML without tricks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hfnet_core.errors import DatasetError, first_line

__all__ = ["parse"]

_MAX_YAML_BYTES = 1024 * 1024  # its parser takes seconds for this
_MAX_DEPTH = 40
_OPENCV_DIRECTIVE = re.compile(r"\A\s*%YAML:1\.\d[^\n]*\n")  # no YAML: a blank is missing
_TABS_INSIDE = re.compile(r"(?<=\S) *\t[ \t]*")  # librealsense aligns its columns with them
_OPENCV_TAGS = "tag:yaml.org,2002:opencv-"


def parse(path: Path, text: str) -> list[Any]:
    """The documents in a text: one of JSON, or all of YAML, also as OpenCV writes it. Raises DatasetError."""
    json_error: Exception | None = None
    if text.lstrip().startswith(("{", "[")):
        try:
            return [json.loads(text, object_pairs_hook=_unique)]
        except (ValueError, RecursionError) as error:  # YAML may look like this as well
            json_error = error
    try:
        return _parse_yaml(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = json_error if json_error is not None and path.suffix.lower() == ".json" else error
        raise DatasetError(f"{path}: calibration cannot be read ({_said(reason)})") from error


def _parse_yaml(text: str) -> list[Any]:
    if len(text) > _MAX_YAML_BYTES:
        raise ValueError(f"more than {_MAX_YAML_BYTES >> 20} MiB of YAML")
    plain = _TABS_INSIDE.sub(" ", _OPENCV_DIRECTIVE.sub("", text, count=1))
    return [document for document in yaml.load_all(plain, Loader=_Loader) if document is not None]


def _said(error: Exception) -> str:
    problem = getattr(error, "problem", None)
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not problem or mark is None:
        return first_line(error)
    return f"line {mark.line + 1}: {problem}"


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _refused(problem: str, at: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain YAML: no aliases, with which a short file stands for gigabytes, no depth, no key twice."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="it has YAML aliases (*name), which no calibration needs",
                problem_mark=self.peek_event().start_mark,
            )
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _refused("it is nested too deeply", self.peek_event())
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise _refused(f"{twice!r} is there twice", node)
        return dict(super().construct_mapping(node, deep=deep))


def _opencv(loader: _Loader, suffix: str, node: Any) -> Any:
    """!!opencv-matrix and the like are plain mappings with a tag."""
    if not isinstance(node, yaml.MappingNode):
        raise _refused(f"opencv-{suffix} is no mapping", node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor(_OPENCV_TAGS, _opencv)
