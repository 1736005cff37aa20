"""Tables of numbers by step, which a run that goes on from a checkpoint goes on writing."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from hfnet_core.errors import DatasetError
from hfnet_core.files import read_text, written_whole

__all__ = ["StepTable"]


class StepTable:
    """A CSV file whose first column is `step`, ascending."""

    def __init__(self, path: Path) -> None:
        self._path, self._begun = path, False

    def append(self, step: int, values: Mapping[str, str]) -> None:
        """Add a row; the first one brings the header. Raises DatasetError where it cannot be written.

        What a killed run wrote of this step and later ones, after its last checkpoint, is taken out.
        """
        if not self._begun and self._path.is_file():
            self._cut(step)
        self._begun = True
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                table = csv.writer(file, lineterminator="\n")
                if file.tell() == 0:
                    table.writerow(["step", *values])
                table.writerow([step, *values.values()])
        except OSError as error:
            raise DatasetError(f"{self._path}: cannot be written ({error.strerror}); make room") from error

    def _cut(self, step: int) -> None:
        header, *rows = read_text(self._path, "a table of a run").splitlines() or [""]
        whole = [row for row in rows if row.count(",") == header.count(",") and row.partition(",")[0].isdecimal()]
        kept = [row for row in whole if int(row.partition(",")[0]) < step]
        written_whole(self._path, "".join(f"{line}\n" for line in (header, *kept) if line))
