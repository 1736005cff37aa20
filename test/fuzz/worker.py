"""Damaged files of one format, read one after another in a process that may die of it; `run.py` starts it.

Prints a line of JSON before each input (its number) and after it (what became of it).
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

from formats import FORMATS, Format

from hfnet_core.errors import HFNetError

SECONDS = 20  # of the processor, for one input
PATIENCE = 300  # on the clock, for one that waits for something: a busy machine gives a process little
MEMORY = 3 << 30  # bytes of address space beyond what the libraries take


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def outcome(kind: Format, folder: Path) -> str:
    """ "read", "refused", or what is wrong with how it was refused."""
    try:
        kind.read(folder)
    except HFNetError as error:
        said = str(error)
        try:
            said.encode("utf-8")
        except UnicodeEncodeError:
            return f"a message that cannot be written: {said!r}"
        if "\n" in said or len(said) > 5000 or not said:
            return f"a message of several lines or none, or too long: {said[:200]!r}"
        return "refused"
    except MemoryError:
        return "out of memory"
    except BaseException as error:  # that is what is looked for
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where is not None else "?"
        return f"{type(error).__name__} at {place}: {str(error)[:200]!r}"
    return "read"


def remember_programs() -> None:
    """rosbags makes the same programs of the same definitions for every input: once is enough here."""
    from rosbags.serde import cdr, ros1, utils

    compiled = functools.lru_cache(maxsize=10_000)(lambda text: utils.compile_lines(text.split("\n")))
    for module in (cdr, ros1):
        module.compile_lines = lambda lines: compiled("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="Folder for inputs that break something.")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    devnull = os.open(os.devnull, os.O_WRONLY)
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(devnull, 1)  # libraries talk
    kind = FORMATS[options.format]
    if options.format.startswith("bag"):
        remember_programs()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        folder = Path(name) / "x"
        folder.mkdir()
        tempfile.tempdir = name  # what readers put aside goes with the rest
        kind.build(folder)
        honest = files_below(folder)
        kind.read(folder)  # an honest file is read, and libraries are loaded
        os.dup2(devnull, 2)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        for number in range(options.first, options.first + options.count):
            rng = random.Random(f"{options.format} {options.seed} {number}")
            files = kind.damaged(honest, rng)
            shutil.rmtree(folder)
            folder.mkdir()
            write(folder, files)
            report.write(json.dumps({"number": number}) + "\n")
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # kills, wherever the time goes
            signal.alarm(PATIENCE)
            begun = time.process_time()
            found = outcome(kind, folder)
            seconds = time.process_time() - begun
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            said = {"number": number, "outcome": found, "seconds": seconds, "peak_kb": peak}
            report.write(json.dumps(said) + "\n")
            if found not in ("read", "refused") and options.keep:
                shutil.copytree(folder, options.keep / f"{options.format}-{options.seed}-{number}", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
