"""What processes take of the machine, as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["resident_bytes", "worked_s"]


def resident_bytes(process: int | str = "self") -> int:
    """Memory that a process holds now, pages of files included."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def worked_s(process: int) -> float:
    """Processor time that it has taken, user and system."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
