"""What is recorded while a robot drives: keyframes with their features, on disk as they come.

A drive folder is a workspace (see keyframes/workspace.py) that also knows the keyframes themselves, so that a map can
be built from it as from a bag: by the same builder, here or on another computer, while the drive goes on or years
later. Every file appears whole or not at all; who is killed loses what he had at hand.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hfnet_core.config import MapBuildConfig, from_mapping
from hfnet_core.errors import ConfigError, DatasetError, MapError
from hfnet_core.files import make_folder, read_text, written_whole
from hfnet_core.geometry import Pose
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.workers import HERE, Workers
from hfnet_core.mapping.keyframes.workspace import Workspace, locked_folder
from hfnet_core.mapping.live.keyframe_file import RecordedKeyframe, read_keyframe, write_keyframe
from hfnet_core.mapping.pose_modes import IMAGES, MODES
from hfnet_core.maps.description import parse_json
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.tensor_file import UNFINISHED

__all__ = ["SUFFIX", "DriveFolder", "RecordedKeyframe", "Source", "is_drive_folder", "place_of"]

SUFFIX = ".hfdrive"
_FORMAT, _VERSION = "hfdrive", 1
_ABOUT = "drive.json"
_FILE = re.compile(r"keyframe-[0-9]{3,9}-[0-9]{9,18}")
_NUMBERS, _MOST_RECORDINGS = ("recording", "drive"), 10**9  # of a Source
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where the keyframes of a recording are from: one camera of one stretch of the drive.

    drive: the stretch, whose odometry is of one origin; cameras of a rig share it. mode: where poses come from, one of
    `pose_modes`. frame: of the map where its poses alone decide. camera, poses: how calibration and poses came, for
    people.
    """

    recording: int
    drive: int
    mode: str
    image_topic: str
    camera_frame: str
    camera: str
    poses: str
    frame: str


def is_drive_folder(path: Path) -> bool:
    """Whether something was recorded there while a robot drove."""
    return (path / _ABOUT).is_file()


class DriveFolder:
    """Keyframes of one place, of one or several stretches, all described by one model."""

    def __init__(self, path: Path, workers: Workers = HERE) -> None:
        """Raises DatasetError where it holds something else, or of another version."""
        self.path = path
        self.workspace = Workspace(path, workers)
        self._about = _read_about(path / _ABOUT) if is_drive_folder(path) else {}

    # ---- what it is of

    @property
    def info(self) -> Any:
        """Name, version and model_hash of what described its keyframes. Raises DatasetError before anything is."""
        return SimpleNamespace(**self._told("model"))

    @property
    def settings(self) -> MapBuildConfig:
        """Of the build, as they were when it was recorded last. Raises ConfigError for those of another version."""
        return from_mapping(MapBuildConfig, self._told("settings"))

    def _told(self, name: str) -> Any:
        if not self._about:
            raise DatasetError(f"{self.path}: nothing was recorded there")
        return self._about[name]

    @contextmanager
    def recording(self, info: Any, settings: MapBuildConfig) -> Iterator[DriveFolder]:
        """Make the folder where it is missing, and have it to oneself while keyframes are added.

        Raises ConfigError while another recorder has it, and where it was recorded with another model.
        """
        make_folder(self.path)
        with locked_folder(self.path, f"{self.path}: another node records there; wait for it or choose another folder"):
            model = {name: str(getattr(info, name)) for name in ("name", "version", "model_hash")}
            known = self._about.get("model", model)
            if known["model_hash"] != model["model_hash"]:
                raise ConfigError(
                    f"{self.path}: was recorded with model {known['name']} {known['version']}, this is "
                    f"{model['name']} {model['version']}: choose another drive_folder or use that model"
                )
            about = {"format": _FORMAT, "version": _VERSION, "model": model, "settings": dataclasses.asdict(settings)}
            written_whole(self.path / _ABOUT, json.dumps(about, indent=1))
            self._about = about
            for unfinished in self.path.glob(f".*{UNFINISHED}"):
                unfinished.unlink(missing_ok=True)
            yield self

    # ---- adding

    def add_source(self, source: Source) -> None:
        """Before the first keyframe of a recording."""
        written_whole(self.path / f"source-{source.recording:03d}.json", json.dumps(dataclasses.asdict(source)))

    def add(self, recorded: RecordedKeyframe) -> None:
        """Its features, then the keyframe: whoever finds this finds those. Raises MapError where the disk is full."""
        self.workspace.store_features(recorded.keyframe.key, recorded.keyframe.features)
        self.rewrite(recorded)

    def rewrite(self, recorded: RecordedKeyframe) -> None:
        """A keyframe of which more is known by now than when it was added; of the same features."""
        write_keyframe(self.path / _file_of(recorded.keyframe), recorded)

    def take_back(self, keyframe: Keyframe) -> None:
        """It is none after all. Its features stay: those of another one may be the same."""
        (self.path / _file_of(keyframe)).unlink(missing_ok=True)

    # ---- reading

    def count(self) -> int:
        """Number of keyframes."""
        return sum(1 for _ in self._files())

    def sources(self) -> dict[int, Source]:
        """By recording. Raises DatasetError for a damaged one."""
        found = [_read_source(path) for path in sorted(self.path.glob("source-*.json"))]
        return {source.recording: source for source in found}

    def keyframes(self, *, features: bool = True) -> Iterator[RecordedKeyframe]:
        """In order of recording and time, or without their features, which is faster. A damaged one is left out, with
        a line in the log."""
        sizes: tuple[int, int] | None = None
        for path in self._files():
            found = self._read(path, features=features)
            if found is None:
                continue
            described = found.keyframe.features
            own = described.descriptors.shape[1], len(described.global_descriptor)
            if sizes not in (None, own):
                _log.warning("%s is left out: its descriptors have %s numbers, others %s", path, own, sizes)
                continue
            sizes = own
            yield found

    def names(self, recordings: Collection[int]) -> list[str]:
        """Of all keyframes of some recordings, as they are on disk; nothing is read."""
        parts = (path.name.split("-") for number in recordings for path in self._files(f"{number:03d}"))
        return [f"{int(recording)}/{int(number):06d}" for _, recording, number in parts]

    def some(self, names: Sequence[str], *, features: bool = True) -> list[Keyframe]:
        """Keyframes by name; those that are damaged or not there are left out."""
        paths = (self._file_of(name) for name in names)
        found = (self._read(path, features=features) for path in paths if path is not None)
        return [item.keyframe for item in found if item is not None]

    def stamps_ns(self) -> dict[str, int]:
        """Of all keyframes, by name."""
        return {item.keyframe.name: item.keyframe.stamp_ns for item in self.keyframes(features=False)}

    def odometry_at(self, name: str) -> Pose | None:
        """What odometry said where a keyframe was taken, odom_from_camera; None where there was none, or no such
        keyframe."""
        path = self._file_of(name)
        found = self._read(path, features=False) if path is not None else None
        if found is None or found.keyframe.name != name:
            return None
        keyframe = found.keyframe
        alone = self.sources()[keyframe.recording].mode == IMAGES
        return keyframe.odometry_from_camera if alone else keyframe.map_from_camera

    def has_some_of(self, landmark_map: LandmarkMap) -> bool:
        """Whether it holds keyframes of a map."""
        own = self.stamps_ns()
        told = zip(landmark_map.keyframe_names, landmark_map.keyframe_stamps_ns.tolist(), strict=True)
        return any(own.get(name) == stamp_ns for name, stamp_ns in told)

    def last(self, recording: int) -> RecordedKeyframe | None:
        """The newest keyframe of a recording, without its features."""
        for path in reversed(self._files(f"{recording:03d}")):
            found = self._read(path, features=False)
            if found is not None:
                return found
        return None

    def _files(self, recording: str = "*") -> list[Path]:
        return sorted(path for path in self.path.glob(f"keyframe-{recording}-*") if _FILE.fullmatch(path.name))

    def _file_of(self, name: str) -> Path | None:
        """Of a keyframe by its name, which a map may tell as well; None where there is none."""
        called = _file_name(*name.split("/", 1))
        path = self.path / called
        return path if _FILE.fullmatch(called) and path.is_file() else None

    def _read(self, path: Path, *, features: bool = True) -> RecordedKeyframe | None:
        try:
            return read_keyframe(path, self.workspace if features else None)
        except (MapError, DatasetError) as error:
            _log.warning("%s is left out: %s", path, error)
            return None


def place_of(name: str) -> tuple[int, int]:
    """Recording and number of a keyframe by its name, (-1, -1) for a name of another kind: of a map that was merged."""
    recording, _, number = name.partition("/")
    return (int(recording), int(number)) if recording.isdecimal() and number.isdecimal() else (-1, -1)


def _file_of(keyframe: Keyframe) -> str:
    return _file_name(str(keyframe.recording), keyframe.name.rpartition("/")[2])


def _file_name(recording: str, number: str = "") -> str:
    return f"keyframe-{recording:0>3}-{number:0>9}"


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("is no table")
    return value


def _read_about(path: Path) -> dict[str, Any]:
    try:
        found = dict(_table(parse_json(read_text(path, "what a drive folder is of"))))
        known = (found["format"], found["version"]) == (_FORMAT, _VERSION)
        model, settings = _table(found["model"]), _table(found["settings"])
        good = known and all(isinstance(model[name], str) for name in ("name", "version", "model_hash"))
        found["settings"] = settings
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: is damaged ({error}); restore it from a copy") from error
    if not good:
        raise DatasetError(f"{path}: is of another version; use the hfnet_ros that recorded it")
    return found


def _read_source(path: Path) -> Source:
    try:
        source = Source(**_table(parse_json(read_text(path, "a recording of a drive"))))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{path}: is damaged ({error}); restore it from a copy") from error
    values = vars(source)
    whole = all(type(values[name]) is int and 0 <= values[name] < _MOST_RECORDINGS for name in _NUMBERS)
    texts = (value for name, value in values.items() if name not in _NUMBERS)
    if not whole or source.mode not in MODES or not all(isinstance(text, str) for text in texts):
        raise DatasetError(f"{path}: is damaged (a number or text of it cannot be); restore it from a copy")
    return source
