"""What was said of every query, kept on disk as it is said, so that a run that was ended goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_file, whole_file
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.limits import RECONSTRUCTION

__all__ = ["Journal", "QueryAnswer"]

_TEXTS = ("name", "place", "condition", "submitted", "state", "asked")
_POSES = ("map_from_camera", "fallback", "truth")
_COUNTS = ("inliers", "matches")


@dataclass(frozen=True, eq=False)
class QueryAnswer:
    """state: how a pose was found, or why there is none. map_from_camera: the pose found, None for none. fallback: the
    pose of the map image most similar to one without. seconds: by stage. truth: where the dataset tells. asked: key of
    the camera that it was asked with."""

    name: str
    place: str
    condition: str
    submitted: str
    state: str
    map_from_camera: Pose | None = None
    fallback: Pose | None = None
    inliers: int = 0
    matches: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    truth: Pose | None = None
    asked: str = ""

    @property
    def error(self) -> tuple[float, float] | None:
        """(metres, degrees) off the truth; None without either pose."""
        if self.truth is None or self.map_from_camera is None:
            return None
        return pose_error(self.truth, self.map_from_camera)


class Journal:
    """Answers in a file of JSON lines. key: what they depend on; those of another key are forgotten.

    Raises DatasetError where the file cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self.answers: dict[str, QueryAnswer] = {}
        lines = _lines(path)
        if lines and _value(lines[0]) == {"key": key}:
            for record in map(_value, lines[1:]):
                answer = _answer(record)
                if answer is not None:
                    self.answers[answer.name] = answer
        with whole_file(path) as temporary:  # without what is damaged: the last line of a run that was killed, usually
            kept = [{"key": key}, *map(_record, self.answers.values())]
            temporary.write_text("".join(json.dumps(item) + "\n" for item in kept), encoding="utf-8")

    def add(self, answer: QueryAnswer) -> None:
        """Remember an answer, on disk before anything else happens."""
        self.answers[answer.name] = answer
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_record(answer)) + "\n")
        except OSError as error:
            raise DatasetError(f"{self._path}: cannot be written ({error.strerror}); make room") from error


def _lines(path: Path) -> list[bytes]:
    return read_file(path, RECONSTRUCTION, what="answers").splitlines() if path.exists() else []


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _record(answer: QueryAnswer) -> dict[str, Any]:
    plain = {name: getattr(answer, name) for name in (*_TEXTS, *_COUNTS)}
    poses = {name: _numbers(getattr(answer, name)) for name in _POSES}
    return {**plain, **poses, "seconds": {stage: round(value, 6) for stage, value in answer.seconds.items()}}


def _numbers(pose: Pose | None) -> list[float] | None:
    return None if pose is None else [*pose.quat_xyzw().tolist(), *pose.translation.tolist()]


def _answer(record: Any) -> QueryAnswer | None:
    """None for what is damaged; that query is asked again."""
    try:
        names = (str(record[name]) for name in _TEXTS)
        found, fallback, truth = (_pose(record[name]) for name in _POSES)
        inliers, matches = (int(record[name]) for name in _COUNTS)
        seconds = {str(stage): float(value) for stage, value in record["seconds"].items()}
        name, place, condition, submitted, state, asked = names
        known = (name, place, condition, submitted, state)
        return QueryAnswer(*known, found, fallback, inliers, matches, seconds, truth, asked)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None


def _pose(values: Any) -> Pose | None:
    return None if values is None else Pose.from_quat_xyzw(values[:4], values[4:7])
