"""The background process: one version of the map. `python -m hfnet_core.mapping.live.solve DRIVE_FOLDER MAP`.

Tells its progress on standard output, a line of JSON each; see `SolverProcess`. It ends when its standard input is
closed: nobody waits for it any more then.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hfnet_core.errors import HFNetError
from hfnet_core.files import allow_open_files
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.solving import build_from_drive, frame_of
from hfnet_core.maps.storage import save_map
from hfnet_core.threads import one_blas_thread

__all__ = ["main"]

_NICE = 10  # the robot's own work comes first
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


def main(folder: str, output: str) -> int:
    """Exit status: 0 with a map, 2 with one line on standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for whoever waits for the map, who ends us if he wants to
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(_NICE)
    one_blas_thread()
    allow_open_files()
    logging.getLogger("hfnet_core").addHandler(_Warnings(logging.WARNING))
    began_s = time.monotonic()
    path = Path(output)
    try:
        drive = DriveFolder(Path(folder))
        built = build_from_drive(drive, progress=_Teller(), before=frame_of(path, drive))
        save_map(built, path)
    except HFNetError as error:
        print(error, file=sys.stderr)
        return 2
    seconds = time.monotonic() - began_s
    _say(keyframes=built.keyframes, landmarks=built.landmarks, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
