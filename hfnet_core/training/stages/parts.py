"""What long work without steps has found so far, on disk: a kill costs a few items, not all of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfnet_core.errors import first_line
from hfnet_core.files import make_folder
from hfnet_core.progress import Progress, silent
from hfnet_core.training.checkpoint import save_values

__all__ = ["Parts"]

_log = logging.getLogger(__name__)
_ITEMS = 32  # of a file


class Parts:
    """Results of many items, a few in a file. folder: named after all that they depend on; None keeps nothing."""

    def __init__(self, folder: Path | None = None, progress: Progress = silent) -> None:
        self._folder, self._progress = folder, progress

    def each(self, name: str, count: int, make: Callable[[int], tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        """make(0), make(1), ... make(count - 1), or what an interrupted run made of them."""
        for start in range(0, count, _ITEMS):
            numbers = range(start, min(start + _ITEMS, count))
            found = self.read(f"{name}_{start}")
            if found is None:
                found = []
                for number in numbers:
                    self._progress(f"global: {name}", number, count)
                    found.append(make(number))
                self._write(f"{name}_{start}", found)
            yield from (tuple(item) for item in found)

    def read(self, name: str) -> Any:
        """What was written under a name; None where nothing was, or it is damaged."""
        path = self._path(name)
        if path is None or not path.is_file():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises nearly every kind for damaged files
            _log.warning("%s: is damaged (%s); made again", path, first_line(error))
            return None

    def finish(self, name: str, result: Any) -> None:
        """Write what the parts were for, and remove them."""
        self._write(name, result)
        for path in self._folder.glob("*.pt") if self._folder is not None else ():
            if path != self._path(name):
                path.unlink()

    def _write(self, name: str, values: Any) -> None:
        path = self._path(name)
        if path is not None:
            make_folder(path.parent)
            save_values(path, values)

    def _path(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / f"{name}.pt"
