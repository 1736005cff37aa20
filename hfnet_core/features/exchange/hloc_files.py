"""Features, matches and pairs of images as hloc (Sarlin et al., CVPR 2019; its `utils/io.py`) stores them.

A file of features has a group for each image, under its path from the folder of images (`db/1.jpg`): keypoints [K, 2]
in pixels of the original image with (0, 0) at the centre of the top-left one, descriptors [D, K], scores [K],
image_size (width, height), and in files of global features global_descriptor [G]. A file of matches has a group
`NAME0/NAME1`, slashes in names as dashes: matches0 [K0], the partner of each keypoint or -1, and matching_scores0.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.extras import later
from hfnet_core.features.exchange.checking import RawFeatures
from hfnet_core.files import read_text, written_whole
from hfnet_core.limits import FEATURES

if TYPE_CHECKING:
    import h5py
else:
    h5py = later("h5py")

__all__ = ["DAMAGED", "MODEL_HASH", "HlocFile", "pair_name", "read_pairs", "write_pairs"]

MODEL_HASH = "hfnet_model_hash"
"""An attribute of ours; hloc looks at none but `uncertainty`."""
DAMAGED = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What h5py raises of a file that is none."""


class HlocFile:
    """A file of features or of matches, open for reading; a context manager.

    Raises DatasetError where it is none, MissingExtraError without h5py.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DatasetError(f"{path}: no such file of features or matches")
        try:
            self._file = h5py.File(str(path), "r")
        except DAMAGED as error:
            raise DatasetError(f"{path}: cannot be read as HDF5 ({first_line(error)})") from error

    def __enter__(self) -> HlocFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def model_hash(self) -> str:
        """Of the network that made the features, "" where the file does not tell."""
        try:
            return str(self._file.attrs.get(MODEL_HASH, ""))
        except DAMAGED:
            return ""

    def names(self) -> list[str]:
        """Every image that has something in the file, sorted."""
        found: set[str] = set()

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found.add(name.rpartition("/")[0])

        try:
            self._file.visititems(visit)
        except DAMAGED as error:
            raise DatasetError(f"{self.path}: is damaged ({first_line(error)})") from error
        return sorted(found)

    def __contains__(self, name: str) -> bool:
        return self._group(name) is not None

    def keys(self, name: str) -> tuple[str, ...]:
        """What there is of an image: keypoints, descriptors, ... in no order."""
        group = self._group(name)
        return () if group is None else tuple(group.keys())

    def size(self, name: str) -> tuple[int, int] | None:
        """(width, height) of the image, None where the file does not tell."""
        if "image_size" not in self.keys(name):
            return None
        sides = self._array(name, "image_size").reshape(-1)
        if len(sides) != 2 or sides.dtype.kind not in "fiu" or not ((sides >= 1) & (sides < 1e6)).all():
            raise DatasetError(f"{self.path}: image_size of {name} is no size of an image")
        return int(sides[0]), int(sides[1])

    def features(self, name: str) -> RawFeatures:
        """Arrays of an image, unchecked. Raises DatasetError where keypoints or descriptors are missing."""
        known = self.keys(name)
        missing = next((key for key in ("keypoints", "descriptors") if key not in known), None)
        if missing:
            raise DatasetError(f"{self.path}: {name} has no {missing}")
        descriptors = self._array(name, "descriptors")
        if descriptors.ndim != 2:
            raise DatasetError(f"{self.path}: descriptors of {name} are {list(descriptors.shape)}, not [D, K]")
        scores = self._array(name, "scores") if "scores" in known else None
        return RawFeatures(self._array(name, "keypoints"), scores, descriptors.T, self.global_descriptor(name))

    def global_descriptor(self, name: str) -> NDArray[Any] | None:
        """[G] as stored, None where there is none."""
        return self._array(name, "global_descriptor") if "global_descriptor" in self.keys(name) else None

    def matches(self, first: str, second: str, counts: tuple[int, int]) -> NDArray[np.int32] | None:
        """Pairs of keypoints [N, 2] of two images that have so many keypoints each; None where the pair is not there.

        Raises DatasetError for matches with keypoints that there are not.
        """
        for one, other, swapped in ((first, second, False), (second, first, True)):
            for separator in ("/", "_"):  # hloc's older files have one group a pair
                name = pair_name(one, other, separator)
                if name in self:
                    found = self._matches(name, counts[::-1] if swapped else counts)
                    return np.ascontiguousarray(found[:, ::-1]) if swapped else found
        return None

    def _matches(self, pair: str, counts: tuple[int, int]) -> NDArray[np.int32]:
        partners = self._array(pair, "matches0").reshape(-1)
        fits = partners.dtype.kind in "iu" and len(partners) == counts[0]
        if not fits or (len(partners) and not (-1 <= int(partners.min()) <= int(partners.max()) < counts[1])):
            raise DatasetError(
                f"{self.path}: matches of {pair} are not between {counts[0]} and {counts[1]} keypoints: are they of "
                "other features?"
            )
        matched = np.flatnonzero(partners >= 0)
        return np.stack([matched, partners[matched]], axis=1).astype(np.int32)

    def _group(self, name: str) -> Any:
        try:
            found = self._file.get(name) if name and self._file.get(name, getclass=True) is h5py.Group else None
        except DAMAGED:
            return None
        return found

    def _array(self, name: str, key: str) -> NDArray[Any]:
        """A dataset of a size within the limit, stored in this very file."""
        try:
            stored = self._file[name][key]
            elsewhere = not isinstance(stored, h5py.Dataset) or stored.is_virtual or stored.external
            if elsewhere or stored.dtype.kind not in "fiu" or stored.file.filename != self._file.filename:
                raise DatasetError(f"{self.path}: {key} of {name} is no array of numbers stored in this file")
            if stored.nbytes > FEATURES.value():
                raise DatasetError(f"{self.path}: {key} of {name} has more than the limit of {FEATURES}")
            values: NDArray[Any] = stored[()]
        except DAMAGED as error:
            raise DatasetError(f"{self.path}: {key} of {name} cannot be read ({first_line(error)})") from error
        return np.asarray(values)


def pair_name(first: str, second: str, separator: str = "/") -> str:
    """The group of a pair of images in a file of matches."""
    return separator.join(name.replace("/", "-") for name in (first, second))


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Pairs of image names, one `NAME0 NAME1` a line. Raises DatasetError naming file and line."""
    out = []
    for number, line in enumerate(read_text(path, "a list of pairs of images").splitlines(), start=1):
        names = line.split()
        if not names or names[0].startswith("#"):
            continue
        if len(names) != 2:
            raise DatasetError(f"{path}, line {number}: is not NAME0 NAME1")
        out.append((names[0], names[1]))
    if not out:
        raise DatasetError(f"{path}: names no pairs of images")
    return out


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """Write pairs of image names, one a line. Raises DatasetError for a name with a space, or where it cannot."""
    lines = []
    for pair in pairs:
        if any(len(name.split()) != 1 for name in pair):
            raise DatasetError(f"{path}: {pair[0]!r} or {pair[1]!r} has a space, which a list of pairs cannot hold")
        lines.append(" ".join(pair))
    written_whole(path, "\n".join(lines) + "\n")
