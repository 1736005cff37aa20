"""Bad luck for every command that writes: does the last good file stay, does the next run end well?

    python test/bench/faults.py [--command "map build" ...] [--fault kill full ...] [--kills 3] [--seed 0]

kill: SIGKILL at random moments of its work, until it has met so many. full: a file system with too little room.
read-only: one that may not be written. memory: too little address space. clock: the computer's time jumps by a year,
back and forth. two: both at once. A small file system of its own (full, read-only) needs the right to mount one;
without it they are skipped by name.
Prints a table; exit status 1 if a file was lost, or a run after the fault did not end as one without.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from commands import COMMANDS, Command, Run, content, load_libraries, make_inputs, start

_PAGE, _LARGE = resource.getpagesize(), 2 << 30


def jump() -> None:
    """From now on, the computer's time jumps by a year whenever it is asked for."""
    true, calls = time.time, itertools.count()

    def jumping() -> float:
        return true() + (next(calls) % 3 - 1) * 3.2e7

    time.time, time.time_ns = jumping, lambda: int(jumping() * 1e9)


def limit_memory(megabytes: int) -> Callable[[], None]:
    """So much more than what is used already."""

    def limit() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20),) * 2)

    return limit


@dataclass
class Row:
    """What became of one command under one fault. said: how its runs ended."""

    runs: int = 0
    said: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def ended(self, run: Run) -> None:
        """Note how a run ends."""
        code, errors = run.wait(), run.errors
        self.runs += 1
        lines = errors.strip().splitlines()
        if code == 0:
            how = "done"
        elif code == -signal.SIGKILL:
            how = "killed"
        elif code == 2 and "Traceback" not in errors and lines and lines[-1].startswith("hfnet: "):
            how = "one line"
        elif "Traceback" in errors:
            how = f"traceback ({lines[-1][:80]})"
        else:
            how = f"exit {code}"
        self.said[how] = self.said.get(how, 0) + 1


class Bench:
    """Inputs, what every command makes of them without a fault, and how long it takes."""

    def __init__(self, folder: Path, seed: int, kills: int) -> None:
        self.folder, self.inputs, self.rng, self.kills = folder, folder / "inputs", random.Random(seed), kills
        self.inputs.mkdir()
        load_libraries()
        make_inputs(self.inputs)

    def measure(self, command: Command) -> tuple[str, float, int]:
        """Hash, seconds of the processor and bytes of a run without a fault. Raises RuntimeError where it fails."""
        out = self._out(command, old=bool(command.begins or command.beside))
        run = start(command, self.inputs, out)
        if run.wait():
            raise RuntimeError(f"fails without any fault: {run.errors.strip()[-300:]}")
        size = sum(item.stat().st_size for item in out.rglob("*") if item.is_file())
        return content(out / command.output), run.worked_s(), size

    def _out(self, command: Command, *, old: bool, where: Path | None = None) -> Path:
        out = where or self.folder / "out"
        if where is None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
        if old:
            command.lay_out_old(self.inputs, out)
        return out

    def check(self, command: Command, expected: str, out: Path, row: Row) -> None:
        """After a fault: the old file or the new one, nothing between; then a run without a fault."""
        before = self._old(command)
        found = content(out / command.output)
        if found not in ("", before, expected) and command.steady and (out / command.output).is_file():
            row.wrong.append("the output is neither the old one nor the new one")
        if command.replaces and not found:
            row.wrong.append("the last good file is gone")
        if (command.begins or not command.replaces) and found == expected:
            return  # it is there already, which it would say, or what is there it would write once more
        run = start(command, self.inputs, out)
        if run.wait():
            row.wrong.append(f"the next run ends with {run.poll()}: {run.errors.strip()[-300:]}")
        elif command.steady and content(out / command.output) != expected:
            row.wrong.append("the next run makes something else")
        elif not content(out / command.output):
            row.wrong.append("the next run makes nothing")

    def _old(self, command: Command) -> str:
        """Hash of the last good file, "" where there is none."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            command.lay_out_old(self.inputs, Path(name))
            return content(Path(name) / command.output)

    # ---- faults

    def kill(self, command: Command, expected: str, seconds: float, _: int) -> Row:
        row = Row()
        for _number in range(3 * self.kills):
            out = self._out(command, old=True)
            run, until_s = start(command, self.inputs, out), self.rng.uniform(0.0, 1.0) * seconds
            while run.worked_s() < until_s and run.poll() is None:
                time.sleep(0.002)
            if run.poll() is None:
                os.killpg(run.process, signal.SIGKILL)
            row.ended(run)
            self.check(command, expected, out, row)
            if row.said.get("killed", 0) == self.kills:
                break
        return row

    def full(self, command: Command, expected: str, _: float, size: int) -> Row:
        row = Row()
        for share in (0.0, 0.4, 0.9):
            with small_disk(self.folder / "small", _LARGE) as disk:
                out = self._out(command, old=True, where=disk)
                (disk / "other").write_bytes(bytes(_PAGE))  # no file system of this kind has no room at all
                room = _pages(disk) + int(share * size) // _PAGE * _PAGE
                subprocess.run(["mount", "-o", f"remount,size={room}", str(disk)], check=True)
                row.ended(start(command, self.inputs, out))
                subprocess.run(["mount", "-o", f"remount,size={_LARGE}", str(disk)], check=True)
                self.check(command, expected, out, row)
        return row

    def read_only(self, command: Command, expected: str, _: float, size: int) -> Row:
        row = Row()
        with small_disk(self.folder / "small", 4 * size + 10_000_000) as disk:
            out = self._out(command, old=True, where=disk)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            row.ended(start(command, self.inputs, out))
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
            self.check(command, expected, out, row)
        return row

    def memory(self, command: Command, expected: str, _: float, __: int) -> Row:
        row = Row()
        for megabytes in (1, 8, 64):
            out = self._out(command, old=True)
            row.ended(start(command, self.inputs, out, limit_memory(megabytes)))
            self.check(command, expected, out, row)
        return row

    def clock(self, command: Command, expected: str, _: float, __: int) -> Row:
        row = Row()
        out = self._out(command, old=True)
        run = start(command, self.inputs, out, jump)
        row.ended(run)
        if run.poll():
            row.wrong.append("does not end well")
        self.check(command, expected, out, row)
        return row

    def two(self, command: Command, expected: str, _: float, __: int) -> Row:
        row = Row()
        out = self._out(command, old=True)
        both = [start(command, self.inputs, out) for _number in range(2)]
        for run in both:
            row.ended(run)
        if all(run.poll() for run in both):
            row.wrong.append("neither ends well")
        self.check(command, expected, out, row)
        return row


def _pages(folder: Path) -> int:
    """Bytes that files take of a file system in memory."""
    return sum(-(-item.stat().st_size // _PAGE) * _PAGE for item in folder.rglob("*") if item.is_file())


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of its own in memory."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_mount(folder: Path) -> bool:
    """Whether this process may have a small disk."""
    try:
        with small_disk(folder / "probe", 4096):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


FAULTS: dict[str, Callable[[Bench, Command, str, float, int], Row]] = {
    "kill": Bench.kill, "full": Bench.full, "read-only": Bench.read_only, "memory": Bench.memory,
    "clock": Bench.clock, "two": Bench.two,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", nargs="*", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--fault", nargs="*", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), given.seed, given.kills)
        faults = list(given.fault)
        if not may_mount(Path(name)):
            print("full and read-only: skipped, no right to mount a file system")
            faults = [fault for fault in faults if fault not in ("full", "read-only")]
        print("| command | fault | runs | how they ended | wrong |\n|---|---|---|---|---|", flush=True)
        bad = 0
        for called in given.command:
            command = COMMANDS[called]
            if not command.is_possible():
                print(f"| {called} | skipped: {' or '.join(command.needs)} is not installed | | | |", flush=True)
                continue
            try:
                expected, seconds, size = bench.measure(command)
            except RuntimeError as error:
                bad += 1
                print(f"| {called} | none | 1 | | {error} |", flush=True)
                continue
            for fault in faults:
                row = FAULTS[fault](bench, command, expected, seconds, size)
                bad += len(row.wrong)
                how = ", ".join(f"{times} {said}" for said, times in sorted(row.said.items()))
                print(f"| {called} | {fault} | {row.runs} | {how} | {'; '.join(row.wrong)} |", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
