"""7-Scenes and 12-Scenes: a pose beside every frame; a place is a scene."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from hfnet_core.benchmarks.datasets.dataset import NEAR, Bounds, Layout, Place, QueryImage
from hfnet_core.benchmarks.datasets.lists import read_matrix, read_names, rows
from hfnet_core.errors import DatasetError, MapError
from hfnet_core.files import read_text
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maintenance.posed_images import PosedImage, PosedImages
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_reading import model_camera, read_model
from hfnet_core.types import Camera

__all__ = ["SevenScenes", "TwelveScenes"]

_FOCAL, _WIDTH = 525.0, 640  # of the colour camera of 7-Scenes, as everybody takes it: the dataset tells none
_TRIANGULATED = "7scenes_sfm_triangulated"
_SPLIT = re.compile(r"sequence\s*(\d+)\s*\[frames=\d+\]\s*\[start=(\d+)\s*;\s*end=(\d+)\]")
_log = logging.getLogger(__name__)


class _Frames:
    """What both datasets are made of."""

    name = ""
    title = ""
    page = ""
    _suffix = ""

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def bounds(self, condition: str) -> Bounds:
        del condition
        return NEAR

    def result_name(self, method: str) -> str:
        return f"{self.name}_{method}.txt"

    def _place(self, place: str, folder: Path, camera: Camera, split: tuple[list[Path], list[Path]]) -> Place:
        """split: frames of the map, and the queries."""

        def map_images() -> PosedImages:
            posed = [PosedImage(name, camera, pose) for name, pose in self._posed(folder, split[0]) if pose is not None]
            return PosedImages(str(folder), posed, kind="poses of frames")

        queries = [
            QueryImage(name, camera, place, name, pose)
            for name, pose in self._posed(folder, split[1])
            if pose is not None
        ]
        return Place(place, folder, folder, map_images, queries)

    def _posed(self, folder: Path, frames: Iterable[Path]) -> Iterable[tuple[str, Pose | None]]:
        """(name, pose) of each frame; one without a pose, or with one that is none, is a line in the log."""
        for path in frames:
            try:
                pose = read_matrix(path.with_name(path.name.replace(self._suffix, ".pose.txt")))
            except DatasetError as error:
                _log.warning("left out: %s", error)
                continue
            if pose is None:
                _log.warning("left out: %s has no pose: tracking was lost there", path)
            yield str(path.relative_to(folder)), pose


class SevenScenes(_Frames):
    """Sequences in folders, and lists of which are the map's; or hloc's COLMAP models beside them."""

    name = "7scenes"
    title = "7-Scenes"
    page = "https://www.microsoft.com/en-us/research/project/rgb-d-dataset-7-scenes/"
    _suffix = ".color.png"

    def places(self) -> tuple[str, ...]:
        return tuple(str(Path(path).parent) for path in self._layout.folders("*/TestSplit.txt", "chess/TestSplit.txt"))

    def open(self, place: str) -> Place:
        triangulated = f"{_TRIANGULATED}/{place}/triangulated"
        if self._layout.first([triangulated]) is not None:
            return self._from_colmap(place, triangulated)
        found = self._layout.found(
            {"train": (f"{place}/TrainSplit.txt",), "test": (f"{place}/TestSplit.txt",), "folder": (place,)}
        )
        frames = {kind: self._frames(place, found[kind]) for kind in ("train", "test")}
        height, width = read_image(frames["train"][0]).shape[:2]
        focal = _FOCAL * width / _WIDTH
        camera = camera_of(model_camera(0, "SIMPLE_PINHOLE", (width, height), (focal, width / 2, height / 2)))
        return self._place(place, found["folder"], camera, (frames["train"], frames["test"]))

    def _from_colmap(self, place: str, models: str) -> Place:
        """The models of the whole scene that hloc uses, and the list of those images that are queries."""
        needed = {"folder": (place,), "list": (f"{models}/list_test.txt",), **self._layout.colmap(models)}
        found = self._layout.found(needed)
        folder, model = found["folder"], self._layout.root / models
        posed = posed_images_of(read_model(model), str(model))
        known, names = {item.name: item for item in posed.images}, read_names(found["list"])
        lacking = [name for name in names if name not in known]
        if lacking:
            raise DatasetError(f"{model}: lacks {len(lacking)} images of {found['list']}, first {lacking[0]}")
        asked = [known[name] for name in names]
        queries = [QueryImage(item.name, item.camera, place, item.name, item.map_from_camera) for item in asked]
        return Place(place, folder, folder, lambda: posed.without(set(names)), queries)

    def _frames(self, place: str, split: Path) -> list[Path]:
        """Of the sequences that a list names, `sequence2` being the folder seq-02."""
        out: list[Path] = []
        for where, fields in rows(split, "a list of sequences"):
            number = fields[0].removeprefix("sequence")
            if not number.isdecimal() or len(number) > 4:
                raise DatasetError(f"{where}: {fields[0][:40]!r} is no sequence")
            folder = self._layout.need(f"{place}/seq-{int(number):02d}")
            out += sorted(folder.glob(f"frame-*{self._suffix}"))
        if not out:
            raise DatasetError(f"{split}: names no sequence with frames; unpack {place}/seq-*.zip beside it")
        return out


class TwelveScenes(_Frames):
    """All frames of a scene in one folder; the first sequence is the queries, the others are the map."""

    name = "12scenes"
    title = "12-Scenes"
    page = "http://graphics.stanford.edu/projects/reloc/"
    _suffix = ".color.jpg"

    def places(self) -> tuple[str, ...]:
        return tuple(str(Path(path).parent) for path in self._layout.folders("*/*/info.txt", "apt1/kitchen/info.txt"))

    def open(self, place: str) -> Place:
        found = self._layout.found(
            {
                "info": (f"{place}/info.txt",),
                "split": (f"{place}/split.txt",),
                "data": (f"{place}/data",),
                "folder": (place,),
            }
        )
        first, last = self._queries(found["split"])
        frames = sorted(found["data"].glob(f"frame-*{self._suffix}"))
        numbers = [path.name.removeprefix("frame-").removesuffix(self._suffix) for path in frames]
        asked = [number.isdecimal() and first <= int(number) <= last for number in numbers]
        test = [path for path, wanted in zip(frames, asked, strict=True) if wanted]
        train = [path for path, wanted in zip(frames, asked, strict=True) if not wanted]
        return self._place(place, found["folder"], _info_camera(found["info"]), (train, test))

    def _queries(self, split: Path) -> tuple[int, int]:
        found = _SPLIT.search(read_text(split, "a list of sequences"))
        if found is None or max(len(text) for text in found.groups()) > 9:
            raise DatasetError(f"{split}: has no line `sequence0 [frames=N] [start=A ; end=B]`")
        return int(found.group(2)), int(found.group(3))


def _info_camera(path: Path) -> Camera:
    """The colour camera: `m_colorWidth = ...`, `m_colorHeight = ...`, `m_calibrationColorIntrinsic = ` a 4x4 matrix."""
    lines = (line.partition("=") for line in read_text(path, "intrinsics").splitlines())
    told = {key.strip(): value.split() for key, _, value in lines}
    try:
        size = int(told["m_colorWidth"][0]), int(told["m_colorHeight"][0])
        matrix = [float(value) for value in told["m_calibrationColorIntrinsic"]]
        return camera_of(model_camera(0, "PINHOLE", size, (matrix[0], matrix[5], matrix[2], matrix[6])))
    except (KeyError, ValueError, IndexError, MapError) as error:
        raise DatasetError(f"{path}: tells no colour camera ({error})") from error
