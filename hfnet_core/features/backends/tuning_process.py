"""`python -m hfnet_core.features.backends.tuning_process REQUEST`: measure the runtimes for later starts.

REQUEST is JSON: model (path), config (EngineConfig), threads, wait_s. Prints one line and ends with status 2 when that
fails. `BackgroundTuning` runs it beside a node: Python there goes on, and a crash stays here.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from hfnet_core.config import EngineConfig, from_mapping
from hfnet_core.errors import HFNetError
from hfnet_core.features.backends.tuning import measure, sample_images
from hfnet_core.features.backends.verdicts import keep, look_up

__all__ = ["BackgroundTuning", "main"]

_log = logging.getLogger(__name__)
_NICE = 10  # the robot comes first


class BackgroundTuning:
    """Measures `engine.tune_after_s` after it was made, unless that is 0 or it was done before on this machine."""

    def __init__(self, model: Path, engine: EngineConfig, threads: int = 0) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if not engine.tune_after_s or look_up(model, engine, threads) is not None:
            return
        request = {"model": str(model), "config": asdict(engine), "threads": threads, "wait_s": engine.tune_after_s}
        command = [sys.executable, "-m", "hfnet_core.features.backends.tuning_process", json.dumps(request)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        """End it, finished or not; calling it again does nothing."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def main(request: str) -> int:
    values = json.loads(request)
    engine, model, threads = from_mapping(EngineConfig, values["config"]), Path(values["model"]), int(values["threads"])
    time.sleep(float(values["wait_s"]))
    os.nice(_NICE)
    try:
        rows = measure(model, sample_images(), engine, threads)
        best = keep(rows, model, engine, threads)
    except HFNetError as error:
        print(error)
        return 2
    told = ", ".join(f"{row.description} {row.milliseconds:.1f} ms" for row in rows if row.problem is None)
    _log.warning("runtimes measured: %s; from the next start on the network runs on %s", told, best.description)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
