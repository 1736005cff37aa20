"""A seeded minute of fuzzing, and every input that ever broke something. The long run is `run.py`."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from formats import FORMATS  # noqa: E402
from mutations import mutated  # noqa: E402
from run import fuzz  # noqa: E402
from worker import files_below, outcome, write  # noqa: E402

SECONDS = float(os.environ.get("HFNET_FUZZ_SECONDS", "60"))  # for all formats together
AT_LEAST = 5  # inputs of a format, however slow the machine
AT_ONCE = 20
SEED = 20261128


@pytest.mark.timeout(600)
def test_damaged_files_of_every_format_are_refused_cleanly() -> None:
    """The same inputs on every machine; a faster one gets further."""
    budget = SECONDS / len(FORMATS)
    broken = {}
    for name in FORMATS:
        begun, first = time.monotonic(), 0
        while first < AT_LEAST or time.monotonic() - begun < budget:
            count = AT_LEAST if first == 0 else AT_ONCE
            result = fuzz(name, count, SEED, first)
            broken |= {f"{name} {number}": said for number, said in result.broken.items()}
            first += count
    assert not broken


def seeds() -> list[Path]:
    return sorted(path for path in (HERE / "seeds").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", seeds(), ids=lambda path: path.name)
def test_what_once_broke_something_is_read_or_refused(folder: Path, tmp_path: Path) -> None:
    """A seed is a folder FORMAT--WHAT; the files in it replace those of an honest example."""
    kind = FORMATS[folder.name.partition("--")[0]]
    kind.build(tmp_path)
    write(tmp_path, files_below(folder))
    assert outcome(kind, tmp_path) in ("read", "refused")


@pytest.mark.parametrize("name", FORMATS)
def test_an_honest_file_of_each_format_is_read(name: str, tmp_path: Path) -> None:
    kind = FORMATS[name]
    kind.build(tmp_path)
    assert outcome(kind, tmp_path) == "read"


def test_damage_is_the_same_for_the_same_seed_and_differs_otherwise() -> None:
    content = bytes(range(256)) * 4
    once, again = (mutated(content, random.Random(7)) for _ in range(2))
    assert once == again != content
    assert len({mutated(content, random.Random(seed)) for seed in range(50)}) > 45
