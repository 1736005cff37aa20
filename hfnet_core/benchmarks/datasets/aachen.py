"""Aachen Day-Night, both versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from hfnet_core.benchmarks.datasets.dataset import COARSE, FAR, Bounds, Layout, Place, QueryImage
from hfnet_core.evaluation.query_list import read_query_list
from hfnet_core.maintenance.colmap_import import posed_images_of
from hfnet_core.maintenance.nvm_import import posed_images_of_nvm
from hfnet_core.maintenance.posed_images import PosedImages
from hfnet_core.maps.colmap_reading import read_model

__all__ = ["Aachen", "AachenV11"]

_SERVER = "https://data.ciirc.cvut.cz/public/projects/2020VisualLocalization/Aachen-Day-Night/"


class Aachen:
    """Version 1.0: an NVM model with intrinsics beside it, day and night lists."""

    name = "aachen"
    title = "Aachen Day-Night"
    page = f"https://www.visuallocalization.net/datasets/ ({_SERVER})"
    _method = "Aachen_eval_{}.txt"
    _lists: ClassVar[Mapping[str, Sequence[str]]] = {
        "day": ("queries/day_time_queries_with_intrinsics.txt", "day_time_queries_with_intrinsics.txt"),
        "night": ("queries/night_time_queries_with_intrinsics.txt", "night_time_queries_with_intrinsics.txt"),
    }

    def __init__(self, root: Path) -> None:
        self._layout = Layout(root, self.title, self.page)

    def places(self) -> tuple[str, ...]:
        return ("aachen",)

    def open(self, place: str) -> Place:
        images = ("images_upright", "images/images_upright")
        found = self._layout.found({"images": images, **self._lists, **self._needed()})
        queries = [
            QueryImage(name, camera, condition, Path(name).name)
            for condition in self._lists
            for name, camera in read_query_list(found[condition])
        ]
        return Place(place, found["images"], found["images"], self._map_images(found), queries)

    def _needed(self) -> dict[str, Sequence[str]]:
        """Of the model."""
        return {
            "model": ("3D-models/aachen_cvpr2018_db.nvm", "3D-models/aachen_v_1/aachen_cvpr2018_db.nvm"),
            "intrinsics": ("3D-models/database_intrinsics.txt", "3D-models/aachen_v_1/database_intrinsics.txt"),
        }

    def _map_images(self, found: dict[str, Path]) -> Callable[[], PosedImages]:
        return lambda: posed_images_of_nvm(found["model"], dict(read_query_list(found["intrinsics"])))

    def bounds(self, condition: str) -> Bounds:
        return COARSE if condition == "night" else FAR

    def result_name(self, method: str) -> str:
        return self._method.format(method)


class AachenV11(Aachen):
    """Version 1.1: a COLMAP model, more images of the same city, more night queries."""

    name = "aachen-v1.1"
    title = "Aachen Day-Night v1.1"
    _method = "Aachen_v1_1_eval_{}.txt"
    _lists: ClassVar[Mapping[str, Sequence[str]]] = {
        "day": ("queries/day_time_queries_with_intrinsics.txt",),
        "night": (
            "queries/night_time_queries_with_intrinsics_v1_1.txt",
            "queries/night_time_queries_with_intrinsics.txt",
        ),
    }

    def _needed(self) -> dict[str, Sequence[str]]:
        return {"model": ("3D-models/aachen_v_1_1",), **self._layout.colmap("3D-models/aachen_v_1_1")}

    def bounds(self, condition: str) -> Bounds:
        del condition
        return FAR

    def _map_images(self, found: dict[str, Path]) -> Callable[[], PosedImages]:
        return lambda: posed_images_of(read_model(found["model"]), str(found["model"]))
