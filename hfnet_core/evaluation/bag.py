"""A map tested with a recording, without ROS: every image goes through extractor and tracker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError
from hfnet_core.evaluation.metrics import Sample
from hfnet_core.evaluation.offline import FilmLocalizer, OfflineLocalizer
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.storage import save_map
from hfnet_core.progress import Progress, silent
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.depth.recorded import recorded_depth
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Localization, NotLocalized

__all__ = ["evaluate_bag", "map_from_bag"]


def map_from_bag(
    path: Path,
    output: Path,
    model: Path | None = None,
    options: BagOptions | None = None,
    progress: Progress = silent,
) -> None:
    """Build a map of a recording with the default settings and save it. Raises DatasetError as `build_map` does."""
    config = MapBuildConfig()
    extractor = Extractor(open_backend(model), config.extraction)
    save_map(build_map([path], extractor, config, options, progress), output)


def evaluate_bag(
    localizer: OfflineLocalizer,
    path: Path,
    options: BagOptions | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Sample]:
    """One sample per image of a bag with ground truth, in order; damaged images have no pose and no latency.

    Latency is the time of extraction and localization. progress: called with (images done, all images). Raises
    DatasetError when the bag holds no poses, ConfigError for a folder of maps.
    """
    if localizer.has_several_maps:
        raise ConfigError("an evaluation takes one map, whose frame the recording's poses are in; got a folder of maps")
    samples = []
    with Bag(path, options) as bag, recorded_depth(bag) as depth:
        bag.require_poses()
        bag.compare_cameras(localizer.map.known_cameras(bag.camera_frame))
        film = FilmLocalizer(localizer, bag.rotation)
        for frame in bag.frames():
            started_s = time.perf_counter()
            result = film.localize(frame, depth)
            samples.append(_sample(frame.stamp_ns, frame.map_from_camera, result, time.perf_counter() - started_s))
            progress(len(samples), len(bag))
        if bag.broken:
            answered = {sample.stamp_ns for sample in samples}
            damaged = [item for item in bag.timeline() if item.stamp_ns not in answered]
            samples += [Sample(item.stamp_ns, item.map_from_camera, reason="damaged image") for item in damaged]
            samples.sort(key=lambda sample: sample.stamp_ns)
    return samples


def _sample(stamp_ns: int, truth: Pose | None, result: Localization, latency_s: float) -> Sample:
    if isinstance(result, NotLocalized):
        return Sample(stamp_ns, truth, latency_s=latency_s, reason=str(result), result=result)
    return Sample(stamp_ns, truth, result.map_from_camera, result.covariance, latency_s, result=result)
