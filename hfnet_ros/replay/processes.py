"""Processes of our own that never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from hfnet_core.errors import HFNetError

__all__ = ["Child", "ChildError", "node_arguments", "use_wheels"]

_PATIENCE_S = 5.0


class ChildError(HFNetError):
    """A process that was started ended by itself, or with an error."""


def use_wheels() -> None:
    """Let ROS from wheels find its packages; a sourced ROS installation has said where they are."""
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)


def node_arguments(parameters: Mapping[str, object]) -> list[str]:
    """Command line that sets ROS parameters."""
    out = ["--ros-args"]
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        out += ["-p", f"{name}:={text}"]
    return out


class Child:
    """A Python module run as a process, its output in a file. Leaving the context asks it to end, then makes it end."""

    def __init__(self, module: str, arguments: Sequence[object], log: Path) -> None:
        self.name, self.log = module.rsplit(".", 1)[-1], log
        command = [sys.executable, "-m", module, *map(str, arguments)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.poll()

    def require_alive(self) -> None:
        """Raises ChildError when it has ended."""
        if self.status is not None:
            raise ChildError(
                f"{self.name} ended with status {self.status}: {self.last_words()} (all of it: {self.log})"
            )

    def wait(self) -> None:
        """Until it has ended. Raises ChildError when that was with an error."""
        if self._process.wait() != 0:
            self.require_alive()

    def last_words(self) -> str:
        """The last line it wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def end(self) -> int:
        """Interrupt it as ctrl-C does; kill it when it does not listen. Returns the exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()
