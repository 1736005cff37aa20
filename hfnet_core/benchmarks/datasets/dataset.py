"""What the datasets of visual localization have in common: places with map images, queries, perhaps true poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.maintenance.posed_images import PosedImages
from hfnet_core.types import Camera

__all__ = ["COARSE", "FAR", "NEAR", "Bounds", "Dataset", "Layout", "Place", "QueryImage"]

Bounds = tuple[tuple[float, float], ...]  # metres, degrees
# Sattler et al., CVPR 2018, table 2; night images of Aachen have coarser truth. NEAR: Shotton et al., CVPR 2013.
FAR: Bounds = ((0.25, 2.0), (0.5, 5.0), (5.0, 10.0))
COARSE: Bounds = ((0.5, 2.0), (1.0, 5.0), (5.0, 10.0))
NEAR: Bounds = ((0.05, 5.0), (0.1, 5.0), (0.25, 5.0))


@dataclass(frozen=True, eq=False)
class QueryImage:
    """An image to localize.

    name: below the folder of queries. condition: "day", "night", ... truth: map_from_camera, where the dataset tells.
    submitted: what it is called in a file of results, "" for one that is not asked for.
    """

    name: str
    camera: Camera
    condition: str
    submitted: str
    truth: Pose | None = None


@dataclass(frozen=True, eq=False)
class Place:
    """What is localized in by itself: a city, a slice, a room. map_images: reads what is known of them, when asked."""

    name: str
    map_folder: Path
    query_folder: Path
    map_images: Callable[[], PosedImages]
    queries: Sequence[QueryImage] = field(repr=False)


class Dataset(Protocol):
    """A dataset as it lies on disk. Opening one looks only at which files are there."""

    name: str
    title: str
    page: str

    def places(self) -> tuple[str, ...]:
        """Names of what is there, one at least. Raises DatasetError."""

    def open(self, place: str) -> Place:
        """Raises DatasetError naming every file that is missing, or that is damaged."""

    def bounds(self, condition: str) -> Bounds:
        """Of recall, finest first."""

    def result_name(self, method: str) -> str:
        """Of the file of results that visuallocalization.net expects, as far as it does."""


class Layout:
    """Where files of a dataset lie, and what to say where they do not.

    Raises ConfigError where the folder itself is missing.
    """

    def __init__(self, root: Path, title: str, page: str) -> None:
        self.root, self._title, self._page = root, title, page
        if not root.is_dir():
            raise ConfigError(f"{root}: no such folder; download {title} from {page} and unpack it there")

    def found(self, wanted: Mapping[str, Sequence[str]]) -> dict[str, Path]:
        """Of each thing the first of the places it may lie at. Raises DatasetError naming all that is missing."""
        out, missing = {}, []
        for thing, alternatives in wanted.items():
            path = self.first(alternatives)
            if path is None:
                missing.append(" or ".join(alternatives))
            else:
                out[thing] = path
        if missing:
            raise DatasetError(
                f"{self.root}: {self._title} lacks {'; '.join(missing)}: download them from {self._page} and unpack "
                "them there"
            )
        return out

    def colmap(self, *folders: str) -> dict[str, Sequence[str]]:
        """What to ask `found` for where a COLMAP model lies in the first of these folders that is there."""
        folder = next((name for name in folders if (self.root / name).is_dir()), folders[0])
        stems = ("cameras", "images", "points3D")
        return {f"{folder}/{stem}": (f"{folder}/{stem}.bin", f"{folder}/{stem}.txt") for stem in stems}

    def first(self, alternatives: Sequence[str]) -> Path | None:
        """The first that exists."""
        return next((self.root / name for name in alternatives if (self.root / name).exists()), None)

    def need(self, *alternatives: str) -> Path:
        """`found` for one thing."""
        return self.found({"it": alternatives})["it"]

    def folders(self, pattern: str, example: str) -> list[str]:
        """Names below the root that fit a pattern, sorted; one at least. Raises DatasetError."""
        paths = [path for path in self.root.glob(pattern) if path.exists()]
        if not paths:
            self.need(example)
            raise DatasetError(f"{self.root}: {self._title} lacks {example}: download it from {self._page}")
        return sorted(str(path.relative_to(self.root)) for path in paths)
