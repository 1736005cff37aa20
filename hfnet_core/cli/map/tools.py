"""What the commands that describe images for a map work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.option_sets import WorkerArguments
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import MapBuildConfig
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.keyframes.workers import open_workers
from hfnet_core.mapping.keyframes.workspace import open_workspace

__all__ = ["build_tools"]


@contextmanager
def build_tools(
    model: Path | None, config: MapBuildConfig, computing: WorkerArguments, output: Path, described: FeatureArguments
) -> Iterator[BuildTools]:
    """What a build of a map at `output` works with."""
    # Whatever is fastest here: maps are the same byte by byte everywhere.
    extractor = described.source(config.extraction, model, "onnxruntime")
    with (
        progress_bars() as show,
        open_workers(computing.scheduler, computing.workers) as workers,
        open_workspace(output, workers) as workspace,
    ):
        yield BuildTools(extractor, config, show, workspace)
