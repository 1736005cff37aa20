"""InLoc, as far as it is lists and COLMAP: its map is scans, of which others make a model of the cut-outs."""

from __future__ import annotations

from pathlib import Path

from hfnet_core.benchmarks.datasets.dataset import Bounds, Layout, Place, QueryImage
from hfnet_core.errors import DatasetError
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.colmap_reading import model_camera, read_model

__all__ = ["InLoc"]

_FOCAL = 28.0 / 36.0  # of the longer side: the telephone's equivalent of 28 mm on film 36 mm wide


class InLoc:
    """Photos of a telephone, and a COLMAP model of the cut-outs (`sparse/`), which the download lacks."""

    name = "inloc"
    title = "InLoc"
    page = "https://www.visuallocalization.net/datasets/ (http://www.ok.sc.e.titech.ac.jp/INLOC/)"

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        return ("inloc",)

    def open(self, place: str) -> Place:
        found = self._layout.found(
            {
                "queries": ("query/iphone7",),
                "map": ("database/cutouts",),
                "model": ("sparse", "models/sparse"),
                **self._layout.colmap("sparse", "models/sparse"),
            }
        )
        names = sorted(path.name for path in found["queries"].iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
        if not names:
            raise DatasetError(f"{found['queries']}: holds no JPG images; download them from {self.page}")
        height, width = read_image(found["queries"] / names[0]).shape[:2]
        focal = _FOCAL * max(width, height)
        camera = camera_of(model_camera(0, "SIMPLE_PINHOLE", (width, height), (focal, width / 2, height / 2)))
        queries = [QueryImage(f"query/iphone7/{name}", camera, "duc", name) for name in names]
        root, model = self._layout.root, found["model"]
        return Place(place, root, root, lambda: posed_images_of(read_model(model), str(model)), queries)

    def bounds(self, condition: str) -> Bounds:
        del condition
        return ((0.25, 10.0), (0.5, 10.0), (1.0, 10.0))

    def result_name(self, method: str) -> str:
        return f"InLoc_eval_{method}.txt"
