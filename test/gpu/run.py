"""Everything that needs the chip, in one command: `python test/gpu/run.py [--output FILE]`, in under ten minutes.

Works with what it finds: every part (see parts.py) runs in a process of its own with a time limit, and its lines are
written to the report as they come, so that a crash or a cut costs what follows only. What cannot be measured here is
named in the report with the reason. $HFNET_GPU_CACHE keeps engines for another run. Ends with status 1 when something
failed, 2 when something was not measured.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_MEASURED = 2
SIZES = "640x480,1280x720"
_LEAST_S = 10.0  # a part with less time than this is not begun


@dataclass(frozen=True)
class Part:
    """name: of a function in parts.py. arguments: what it is told. limit_s: its longest time."""

    name: str
    arguments: tuple[str, ...]
    limit_s: float


def plan(sizes: Sequence[str], tests: Sequence[str]) -> list[Part]:
    """What is measured, in this order: what matters most comes first."""

    def rows(size: str) -> list[Part]:
        engines = [Part("tensorrt", (size, precision), 180) for precision in ("fp16", "fp32")]
        return [*engines, Part("onnxruntime", (size,), 60), Part("torch_eager", (size,), 60)]

    accuracy, *others = tests
    parts = [Part("machine", (), 60), *rows(sizes[0]), Part("tests", (accuracy,), 120)]
    for size in sizes[1:]:
        parts += rows(size)
    parts += [Part("torch_compiled", (sizes[0],), 120), *(Part("tests", (name,), 240) for name in reversed(others))]
    return [*parts, *(Part("torch_compiled", (size,), 120) for size in sizes[1:])]


class Report:
    """Lines, printed and written at once."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.write_text("", encoding="utf-8")

    def add(self, line: str) -> None:
        print(line, flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def run(part: Part, report: Report, seconds: float, environment: dict[str, str]) -> int:
    """Its status; lines that start with `log:` are printed only. Ends it after `seconds`."""
    command = [sys.executable, str(HERE / "parts.py"), part.name, *part.arguments]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, errors="replace")
    timer = threading.Timer(seconds, child.kill)
    timer.start()
    assert child.stdout is not None
    for line in child.stdout:
        print(line, end="") if line.startswith("log:") else report.add(line.rstrip("\n"))
    status = child.wait()
    late = not timer.is_alive()
    timer.cancel()
    if late:
        report.add(f"\nNot measured beyond this: the time of {seconds:.0f} s ran out.")
        return NOT_MEASURED
    if status not in (0, NOT_MEASURED):
        report.add(f"\n**Failed** (status {status}).")
        return 1
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the report, Markdown")
    parser.add_argument("--minutes", type=float, default=9.5, help="of all parts together")
    parser.add_argument("--repeats", type=int, default=300, help="images of each row")
    parser.add_argument("--sizes", default=SIZES, help="WxH,WxH")
    parser.add_argument("--only", default="", help="names of parts, with commas between them")
    given = parser.parse_args()
    report, ends = Report(given.output), time.monotonic() + 60 * given.minutes
    tests = sorted(path.name for path in HERE.glob("test_*.py"))
    wanted = given.only.split(",") if given.only else None
    worst = 0
    with tempfile.TemporaryDirectory() as cache:
        environment = {"HFNET_GPU_CACHE": cache, **os.environ, "HFNET_GPU_REPEATS": str(given.repeats)}
        for part in plan(given.sizes.split(","), tests):
            if wanted is not None and part.name not in wanted:
                continue
            left = ends - time.monotonic()
            if left < _LEAST_S:
                report.add(f"\n{part.name} {' '.join(part.arguments)}: not measured, no time was left.")
                worst = worst or NOT_MEASURED
                continue
            status = run(part, report, min(part.limit_s, left), environment)
            worst = status if worst != 1 and status else worst
    return worst


if __name__ == "__main__":
    sys.exit(main())
