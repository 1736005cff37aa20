"""Pictures of a run: some queries of each condition that failed, and some that did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfnet_core.benchmarks.datasets.dataset import Dataset
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.place_run import PlaceRun, Told
from hfnet_core.benchmarks.paper.report import by_condition
from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.gallery import GalleryPicture, write_gallery
from hfnet_core.evaluation.side_by_side import best_pairing, draw_pairing
from hfnet_core.images.reading import read_image
from hfnet_core.progress import Progress
from hfnet_core.types import Localized

__all__ = ["GalleryMaker"]

_LOOKED_AT = 4  # of the map images of a pose, to find the one that explains most


class GalleryMaker:
    """most: pictures of each condition and place that failed, and as many that did not; 0 for no gallery."""

    def __init__(self, dataset: Dataset, most: int) -> None:
        self._dataset, self._most = dataset, most
        self._pictures: list[GalleryPicture] = []

    def add(self, run: PlaceRun, answers: Sequence[QueryAnswer], progress: Progress) -> None:
        """Localize the chosen queries of a place again, and draw them."""
        queries = {query.name: query for query in run.place.queries}
        chosen = list(self._chosen(answers))
        for done, answer in enumerate(chosen, start=1):
            told = run.told(queries[answer.name])
            image = self._drawn(run, queries[answer.name].camera, told)
            if image is not None:
                self._pictures.append(GalleryPicture(answer.condition, _caption(answer), image, self._failed(answer)))
            progress(f"drawing {run.place.name}", done, len(chosen))

    def write(self, path: Path, log: Mapping[str, Any]) -> Path | None:
        """None where there is nothing to show. Raises DatasetError when it cannot be written."""
        if not self._pictures:
            return None
        numbers = [
            (f"{condition}: {name.replace('_', ' ')}", str(summary[name]))
            for condition, summary in log["conditions"].items()
            for name in ("queries", "success_rate", "mean_inliers", "recall")
            if name in summary
        ]
        write_gallery(path, f"{log['dataset']}, {log['model']}, {log['preset']}", self._pictures, numbers)
        return path

    def _failed(self, answer: QueryAnswer) -> bool:
        """No pose, or one beyond the coarsest bound."""
        if answer.map_from_camera is None:
            return True
        metres, degrees = self._dataset.bounds(answer.condition)[-1]
        return answer.error is not None and (answer.error[0] > metres or answer.error[1] > degrees)

    def _chosen(self, answers: Sequence[QueryAnswer]) -> Iterator[QueryAnswer]:
        """Evenly over each condition."""
        for own in by_condition(answers).values():
            for kind in (True, False):
                like = [answer for answer in own if self._failed(answer) is kind]
                count = min(len(like), self._most)
                yield from (like[index] for index in np.linspace(0, len(like) - 1, count).astype(int))

    def _drawn(self, run: PlaceRun, camera: Any, told: Told) -> NDArray[np.uint8] | None:
        if told.image is None or told.features is None:
            return None
        similar = run.retrieved(told.features)
        keyframes = told.result.keyframes[:_LOOKED_AT] if isinstance(told.result, Localized) else ()
        candidates = keyframes or (() if similar is None else (similar,))
        pairing = best_pairing(run.map, candidates, told.features, camera, told.result)
        if pairing is None:
            return None
        try:
            of_map = run.map.cameras[run.map.keyframe_cameras[pairing.keyframe]]
            path = run.place.map_folder / run.map.keyframe_names[pairing.keyframe]
            shown = read_image(path, (of_map.width, of_map.height))
        except DatasetError:
            shown = None  # removed since; its landmarks are drawn instead
        return draw_pairing(told.image, pairing, shown, run.map)


def _caption(answer: QueryAnswer) -> str:
    said = f"{answer.name}: {answer.state}, {answer.inliers} of {answer.matches} matches agree"
    if answer.error is not None:
        said += f"; {100 * answer.error[0]:.1f} cm, {answer.error[1]:.2f} deg off"
    return said
