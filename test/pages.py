"""The documents as text: which there are, their fenced blocks, their tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "config/README.md", ROOT / "maps/README.md")
)
_FENCE = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<mark>run-here|run-by-ci) -->\n\n?(?P=indent))?"
    r"```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block. mark: run-here, run-by-ci or empty."""

    page: Path
    mark: str
    language: str
    body: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in _FENCE.finditer((ROOT / page).read_text()):
        lines = [line.removeprefix(found["indent"]) for line in found["body"].splitlines()]
        yield Block(page, found["mark"] or "", found["language"], "\n".join(lines) + "\n")


def first_column(page: Path, heading: str) -> list[str]:
    """What stands in backticks in the first column of the tables under a heading, up to the next one."""
    section = (ROOT / page).read_text().split(heading, 1)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
