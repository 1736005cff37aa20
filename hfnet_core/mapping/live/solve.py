"""The background process that makes versions of the map. `python -m hfnet_core.mapping.live.solve FOLDER MAP [grow]`.

It makes one that adjusts the whole, or with `grow`, for each line on its standard input, one to which the newest
keyframes are added. Tells its progress on standard output, a line of JSON each; see solver_process.py. It ends when its
standard input is closed: nobody waits for it any more then.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hfnet_core.errors import HFNetError, MapError
from hfnet_core.files import allow_open_files
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.growing import grown, with_tail_of
from hfnet_core.mapping.live.solving import build_from_drive, frame_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.threads import one_blas_thread

__all__ = ["main"]

_NICE, _GROWING_NICE = 19, 5  # the robot's own work comes first, then what it is to be localized in soon
_TOLD_S = 0.5  # between two lines of one stage


def _say(**values: Any) -> None:
    print(json.dumps({**values, "cpu_s": time.process_time()}), flush=True)


class _Warnings(logging.Handler):
    """What the builder logs, for the node's log."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(warning=record.getMessage())


class _Teller:
    """Progress, not too often."""

    def __init__(self) -> None:
        self._stage, self._told_s = "", 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or time.monotonic() - self._told_s > _TOLD_S:
            self._stage, self._told_s = stage, time.monotonic()
            _say(stage=stage, done=done, total=total)


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not through sys.stdin, whose lock the end of the interpreter would want
        pass
    os._exit(3)


@contextmanager
def _publishing(folder: Path) -> Iterator[None]:
    """Alone with the map's file: a whole version may end while another one grows."""
    handle = os.open(folder / "publishing", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _published(path: Path) -> LandmarkMap | None:
    """The version that is there."""
    try:
        return load_map(path, verify=False)
    except MapError:
        return None


def _without_taken_back(version: LandmarkMap, drive: DriveFolder) -> LandmarkMap:
    """A version without the keyframes that turned out to be none."""
    known = set(drive.names(drive.sources()))
    there = np.array([name in known for name in version.keyframe_names])
    return version if there.all() else keep_keyframes(version, there)


def _whole(folder: Path, path: Path) -> LandmarkMap:
    """A version that adjusts everything; what was added to another one meanwhile stays at its end."""
    drive = DriveFolder(folder)
    built = build_from_drive(drive, progress=_Teller(), before=frame_of(path, drive))
    with _publishing(folder):
        before = _published(path)
        made = built if before is None else with_tail_of(built, _without_taken_back(before, drive))
        save_map(made, path)
    return made


def _grown(folder: Path, path: Path) -> LandmarkMap | None:
    """A version to which the newest keyframes are added; None where nothing is to be added."""
    drive = DriveFolder(folder)
    with _publishing(folder):
        before = _published(path)
        made = grown(before, drive, drive.settings)
        if made is not None:
            save_map(made, path)
    return made


def _grow_when_asked(folder: Path, path: Path) -> int:
    for name in ("pycolmap", "pyceres"):  # which would be loaded when they are needed first
        importlib.import_module(name)
    while os.read(0, 1):  # a line for each version
        began_s = time.monotonic()
        try:
            made = _grown(folder, path)
        except HFNetError as error:
            _say(error=str(error), seconds=time.monotonic() - began_s)
            continue
        counts = (0, 0) if made is None else (made.keyframes, made.landmarks)
        _say(keyframes=counts[0], landmarks=counts[1], seconds=time.monotonic() - began_s)
    return 0


def main(folder: str, output: str, task: str = "whole") -> int:
    """Exit status: 0 with a map, 2 with one line on standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for whoever waits for the map, who ends us if he wants to
    one_blas_thread()
    allow_open_files()
    logging.getLogger("hfnet_core").addHandler(_Warnings(logging.WARNING))
    if task == "grow":
        os.nice(_GROWING_NICE)
        return _grow_when_asked(Path(folder), Path(output))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_NICE)
    began_s = time.monotonic()
    try:
        made = _whole(Path(folder), Path(output))
    except HFNetError as error:
        print(error, file=sys.stderr)
        return 2
    seconds = time.monotonic() - began_s
    _say(keyframes=made.keyframes, landmarks=made.landmarks, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
