"""Versions of the map from processes of their own, which have their own memory and give way to everything else."""

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

__all__ = ["GrowingProcess", "Solved", "SolverProcess", "can_solve"]

_PATIENCE_S = 5.0


def can_solve() -> bool:
    """Whether maps can be made here: pycolmap and its solver are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("pycolmap", "pyceres"))


@dataclass(frozen=True)
class Solved:
    """What an attempt has ended with. error: why there is no new version, "" for one; seconds: of work. is_grown: the
    newest keyframes were added to the version before."""

    error: str = ""
    keyframes: int = 0
    landmarks: int = 0
    seconds: float = 0.0
    is_grown: bool = False


class _Process:
    """A child that says what it does. It ends with us, whatever becomes of us; a map is written whole or not at all."""

    def __init__(self, *arguments: str) -> None:
        self.stage = "starting"
        """What it is at, for people."""
        self.cpu_s = 0.0
        """Processor time that it has used."""
        self.warnings: list[str] = []
        self._last: dict[str, Any] = {}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when it has ended)
        command = [sys.executable, "-m", "hfnet_core.mapping.live.solve", *arguments]
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

    def _end(self) -> str | None:
        """What it said at its end, "" for nothing; None while it runs, and after this was asked."""
        status = self._process.poll()
        if status is None or self._errors.closed:
            return None
        self._reader.join(_PATIENCE_S)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        self._close()
        last = said.splitlines()[-1] if said else f"the process ended with status {status}"
        return "" if status == 0 else printable(last)

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


class SolverProcess(_Process):
    """Makes one version of the map of a drive folder, from what is recorded when it starts."""

    def __init__(self, folder: Path, output: Path) -> None:
        super().__init__(str(folder), str(output))

    def poll(self) -> Solved | None:
        """What it has ended with, None while it works."""
        said = self._end()
        if said is None:
            return None
        if said or "keyframes" not in self._last:
            return Solved(error=said or "the process ended without a map")
        return Solved("", self._last["keyframes"], self._last["landmarks"], self._last["seconds"])


class GrowingProcess(_Process):
    """Adds the newest keyframes to the newest version of a map, each time it is asked; it stays ready meanwhile."""

    def __init__(self, folder: Path, output: Path) -> None:
        super().__init__(str(folder), str(output), "grow")

    def begin(self) -> None:
        """Make a version of what is recorded now."""
        self._last = {}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except OSError:  # it has ended, which `poll` says
            self._last = {}

    def poll(self) -> Solved | None:
        """What it was asked for, with no keyframes where nothing was to be added; None while it works."""
        said = self._end()
        if said is not None:
            return Solved(error=said or "the process ended", is_grown=True)
        told = self._last
        if "error" in told:
            return Solved(error=printable(str(told["error"])), is_grown=True)
        if "keyframes" not in told:
            return None
        return Solved("", told["keyframes"], told["landmarks"], told["seconds"], is_grown=True)

    @property
    def has_ended(self) -> bool:
        """Whether another one is needed."""
        return self._process.poll() is not None
