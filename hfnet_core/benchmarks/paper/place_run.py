"""One place of a dataset: its map, and every query localized in it."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hfnet_core.benchmarks.datasets.dataset import Place, QueryImage
from hfnet_core.benchmarks.paper.answers import Journal, QueryAnswer
from hfnet_core.benchmarks.paper.presets import Preset
from hfnet_core.errors import BackendError, DatasetError
from hfnet_core.features.sources import extract_named
from hfnet_core.files import make_folder, written_whole
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import read_image
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.retrieval import Retriever
from hfnet_core.maintenance.posed_images import import_posed_images
from hfnet_core.mapping.keyframes.reading import BuildTools, Describer
from hfnet_core.mapping.keyframes.workspace import Workspace, key_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import MAP_SUFFIX, load_map, save_map
from hfnet_core.progress import Progress, silent
from hfnet_core.types import Features, Localization, Localized, NotLocalized, Reason

__all__ = ["Extractors", "PlaceRun", "Told"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Extractors:
    """Of map images and of queries: of one network, as a preset says."""

    of_map: Describer
    of_queries: Describer


@dataclass(frozen=True, eq=False)
class Told:
    """A query with everything that was seen and said of it. features: None for an image that cannot be used."""

    image: NDArray[Any] | None
    features: Features | None
    result: Localization


class PlaceRun:
    """folder: where its map and its answers are kept. progress: told how far it is."""

    def __init__(
        self, place: Place, folder: Path, preset: Preset, extractors: Extractors, progress: Progress = silent
    ) -> None:
        self.place, self._folder, self._preset, self._extractors = place, folder, preset, extractors
        self._progress = progress
        make_folder(folder)
        self.map = self._built()
        self._localizer = Localizer(self.map, preset.localizer)
        self._retriever = Retriever(self.map.place_descriptors)

    def _built(self) -> LandmarkMap:
        """The map, made at the first time; features of one that was not finished are kept beside it until it is."""
        path, note = self._folder / f"map{MAP_SUFFIX}", self._folder / "map.json"
        info = self._extractors.of_map.info
        wanted = {"model": info.model_hash, "place": self.place.name, "settings": asdict(self._preset.building)}
        wanted["extraction"] = key_of(getattr(self._extractors.of_map, "config", None))
        if path.exists() and note.exists() and _said(note) == wanted:
            return load_map(path, info.model_hash)
        work = self._folder / "work"
        make_folder(work)
        tools = BuildTools(self._extractors.of_map, self._preset.building, self._progress, Workspace(work))
        note.unlink(missing_ok=True)
        imported = import_posed_images(self.place.map_images(), self.place.map_folder, tools)
        if imported.missing:
            _log.warning(
                "%s: %d map images are missing, %s first",
                self.place.map_folder,
                len(imported.missing),
                imported.missing[0],
            )
        save_map(imported.landmark_map, path)
        written_whole(note, json.dumps(wanted))
        for kept in work.iterdir():
            kept.unlink()
        work.rmdir()
        return load_map(path, info.model_hash)

    def answers(self) -> list[QueryAnswer]:
        """Of every query, in order. Those that an earlier run has answered with the same map, settings and camera are
        kept; what the dataset says of them is taken anew."""
        digest = _digest(self._folder / f"map{MAP_SUFFIX}")
        info = self._extractors.of_queries.info
        source = getattr(self._extractors.of_queries, "config", None)
        settings = (self._preset.localizer, self._preset.extraction, info.model_hash, source)
        journal = Journal(self._folder / "answers.jsonl", key_of(digest, *settings))
        for done, query in enumerate(self.place.queries, start=1):
            known = journal.answers.get(query.name)
            if known is None or known.asked != key_of(query.camera):
                journal.add(self._answer(query))
            self._progress(f"localizing in {self.place.name}", done, len(self.place.queries))
        return [
            replace(
                journal.answers[query.name],
                truth=query.truth,
                submitted=query.submitted,
                condition=query.condition,
            )
            for query in self.place.queries
        ]

    def told(self, query: QueryImage) -> Told:
        """Localize one query, and show what was seen."""
        image, features = None, None
        try:
            image = self._pixels(query)
            features = extract_named(self._extractors.of_queries, image, query.name)
            return Told(image, features, self._localizer.localize([View(features, query.camera)]))
        except DatasetError as error:
            return Told(image, features, NotLocalized(Reason.BAD_IMAGE, str(error)))
        except BackendError as error:
            return Told(image, features, NotLocalized(Reason.BACKEND_FAILED, str(error)))

    def _pixels(self, query: QueryImage) -> NDArray[Any]:
        size = (query.camera.width, query.camera.height)
        image: NDArray[Any] = read_image(self.place.query_folder / query.name, size)
        if image.shape[1::-1] != size:
            raise DatasetError(f"{query.name}: is {image.shape[1]}x{image.shape[0]}, its camera {size[0]}x{size[1]}")
        return image

    def _answer(self, query: QueryImage) -> QueryAnswer:
        begun = time.perf_counter()
        told = self.told(query)
        result, whole_s = told.result, time.perf_counter() - begun
        seconds = {"features": whole_s - sum(result.timings_s.values()), **result.timings_s}
        known = (query.name, self.place.name, query.condition, query.submitted)
        asked = key_of(query.camera)
        if isinstance(result, Localized):
            pose, counts = result.map_from_camera, (result.inliers, result.matches)
            return QueryAnswer(*known, result.mode.value, pose, None, *counts, seconds, query.truth, asked)
        if result.reason is Reason.BAD_IMAGE:
            _log.warning("%s: %s", query.name, result)
        fallback = self.most_similar(told.features)
        counts = (result.inliers, result.matches)
        state = str(result.reason.value)
        return QueryAnswer(*known, state, None, fallback, *counts, seconds, query.truth, asked)

    def most_similar(self, features: Features | None) -> Pose | None:
        """The pose of the map image that a query resembles most; None for an image that cannot be used."""
        keyframe = self.retrieved(features)
        return None if keyframe is None else self.map.map_from_camera(keyframe)

    def retrieved(self, features: Features | None) -> int | None:
        """The keyframe that a query resembles most."""
        if features is None:
            return None
        return int(self._retriever.query(features.global_descriptor, 1)[0][0])


def _said(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
