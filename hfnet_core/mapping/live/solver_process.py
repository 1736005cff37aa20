"""Versions of the map from a process of its own, which has its own memory and gives way to everything else."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfnet_core.errors import printable

__all__ = ["Solved", "SolverProcess", "can_solve"]

_PATIENCE_S = 5.0


def can_solve() -> bool:
    """Whether maps can be made here: pycolmap and its solver are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pycolmap", "pyceres"))


@dataclass(frozen=True)
class Solved:
    """What a process has ended with. error: why there is no new version, "" for one; seconds: of work."""

    error: str = ""
    keyframes: int = 0
    landmarks: int = 0
    seconds: float = 0.0


class SolverProcess:
    """Makes one version of the map of a drive folder, from what is recorded when it starts.

    It ends with us, whatever becomes of us; a map is written whole or not at all.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        self.stage = "starting"
        """What it is at, for people."""
        self.cpu_s = 0.0
        """Processor time that it has used."""
        self.warnings: list[str] = []
        self._last: dict[str, Any] = {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when it has ended)
        command = [sys.executable, "-m", "hfnet_core.mapping.live.solve", str(folder), str(output)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        self._reader = threading.Thread(target=self._read, name="map-solver", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                told = json.loads(line)
                self.cpu_s = float(told["cpu_s"])
            except (ValueError, KeyError, TypeError):  # what some library prints
                continue
            if "stage" in told:
                self.stage = f"{told['stage']} {told['done']}/{told['total']}"
            elif "warning" in told:
                self.warnings.append(str(told["warning"]))
            else:
                self._last = told

    def poll(self) -> Solved | None:
        """What it has ended with, None while it works."""
        status = self._process.poll()
        if status is None or self._errors.closed:
            return None
        self._reader.join(_PATIENCE_S)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        self._close()
        if status != 0 or "keyframes" not in self._last:
            last = said.splitlines()[-1] if said else f"the process ended with status {status}"
            return Solved(error=printable(last))
        return Solved("", self._last["keyframes"], self._last["landmarks"], self._last["seconds"])

    def kill(self) -> None:
        """Make no map after all."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(_PATIENCE_S)
        self._reader.join(_PATIENCE_S)
        self._close()

    def _close(self) -> None:
        self._errors.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
