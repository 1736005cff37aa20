"""A long run: `python test/fuzz/run.py --count 10000 --keep corpus` tries so many damaged inputs of every format.

Prints a table; inputs that break something are kept. Each becomes a seed: a folder in `seeds/`, replayed by the tests.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from formats import FORMATS

HERE = Path(__file__).resolve().parent


@dataclass
class Result:
    """What became of the inputs of one format.

    broken: number of the input -> what is wrong. longest_s: time of the processor for one input.
    """

    name: str
    read: int = 0
    refused: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    peak_mb: float = 0.0
    longest_s: float = 0.0


def fuzz(
    name: str, count: int, seed: int = 0, first: int = 0, keep: Path | None = None, seconds: float = math.inf
) -> Result:
    """Try `count` inputs, or for so many seconds, in processes that may die; the next goes on behind what killed it."""
    result, number, end = Result(name), first, first + count
    until = time.monotonic() + seconds
    while number < end and time.monotonic() < until:
        command = [sys.executable, str(HERE / "worker.py"), name, "--seed", str(seed), "--first", str(number)]
        command += ["--count", str(end - number), *(["--keep", str(keep)] if keep else [])]
        begun = number - 1
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                said = json.loads(line)
                result.peak_mb = max(result.peak_mb, said.get("peak_kb", 0) / 1024)
                result.longest_s = max(result.longest_s, said.get("seconds", 0.0))
                begun = said.get("number", begun)
                if "outcome" in said:
                    number = begun + 1
                    _count(result, begun, said["outcome"])
                    if time.monotonic() > until:
                        process.kill()
                        return result
            trace = process.stderr.read()
        if process.returncode == 0:
            break
        if begun < number:
            raise RuntimeError(f"{name}: the worker fails before the first input: {trace[-2000:]}")
        hangs = process.returncode in (-signal.SIGALRM, -signal.SIGPROF)
        result.broken[begun] = "hangs" if hangs else f"the process dies ({process.returncode})"
        number = begun + 1
    return result


def _count(result: Result, number: int, outcome: str) -> None:
    if outcome == "read":
        result.read += 1
    elif outcome == "refused":
        result.refused += 1
    else:
        result.broken[number] = outcome


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input, to go on")
    parser.add_argument("--format", nargs="*", choices=sorted(FORMATS), default=list(FORMATS))
    parser.add_argument("--keep", type=Path, help="folder for inputs that break something")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=math.inf, help="for each format, if it ends before the count")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    print(
        "| format | inputs | refused | read | broken | peak MB | longest s |\n|---|---|---|---|---|---|---|", flush=True
    )
    bad = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        last = options.keep, options.seconds
        jobs = [pool.submit(fuzz, name, options.count, options.seed, options.first, *last) for name in options.format]
        for job in jobs:
            result = job.result()
            bad += len(result.broken)
            total = result.read + result.refused + len(result.broken)
            numbers = f"{result.refused} | {result.read} | {len(result.broken)}"
            print(
                f"| {result.name} | {total} | {numbers} | {result.peak_mb:.0f} | {result.longest_s:.1f} |", flush=True
            )
            for what, times in Counter(result.broken.values()).most_common(20):
                example = next(number for number, said in result.broken.items() if said == what)
                print(f"    {times} times, number {example} for example: {what}", flush=True)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
