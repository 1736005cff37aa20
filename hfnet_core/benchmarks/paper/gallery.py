"""Pictures of a run: some queries of each condition that failed, and some that did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfnet_core.benchmarks.datasets.dataset import Dataset
from hfnet_core.benchmarks.paper.answers import QueryAnswer
from hfnet_core.benchmarks.paper.place_run import PlaceRun
from hfnet_core.benchmarks.paper.report import by_condition
from hfnet_core.evaluation.gallery import GalleryPicture, write_gallery
from hfnet_core.evaluation.match_pictures import Seen, evenly, images_in, picture_of
from hfnet_core.progress import Progress

__all__ = ["GalleryMaker"]


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
            query = queries[answer.name]
            told = run.told(query)
            if told.image is not None and told.features is not None:
                seen = Seen(told.image, query.camera, told.features, told.result)
                image = picture_of(run.map, seen, images_in(run.place.map_folder))
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
                yield from evenly(like, self._most)


def _caption(answer: QueryAnswer) -> str:
    said = f"{answer.name}: {answer.state}, {answer.inliers} of {answer.matches} matches agree"
    if answer.error is not None:
        said += f"; {100 * answer.error[0]:.1f} cm, {answer.error[1]:.2f} deg off"
    return said
