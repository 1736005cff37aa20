"""`hfnet calibrate MAP=BAG ...`: how sure a pose is to be right, for one network or other kind of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from hfnet_core.cli.feature_options import FeatureArguments
from hfnet_core.cli.option_sets import with_option_sets
from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import ExtractorConfig, LocalizerConfig
from hfnet_core.errors import ConfigError

__all__ = ["calibrate"]


@with_option_sets
def calibrate(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="MAP=BAG...", help="A map, and a recording of the same place that it was not made of."),
    ],
    foreign: Annotated[Path, typer.Option(help="Folder of photos of other places (jpg or png).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The judgement of this network (JSON).")],
    work: Annotated[
        Path, typer.Option(help="Folder that keeps what was collected: a file for each source as it was asked.")
    ],
    described: FeatureArguments,
    every: Annotated[int, typer.Option(min=1, help="Take each n-th image of a recording.")] = 5,
    most_foreign: Annotated[int, typer.Option(min=1, help="Most foreign photos for each source.")] = 100,
    model: Annotated[Path | None, typer.Option(help="Network (ONNX); default: the shipped one.")] = None,
    generic: Annotated[
        bool,
        typer.Option("--generic", help="Anew what holds for features that nobody calibrated: all that --work keeps."),
    ] = False,
    prior: Annotated[
        str,
        typer.Option(metavar="HASH=SHARE", help="Share that the calibration of another model in -o has in this one."),
    ] = "",
    min_confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999999, help="For the table of sources that are held out.")
    ] = LocalizerConfig.min_confidence,
) -> None:
    """Calibrate the judgement on right and wrong poses: every image as it is, darker, blurred, covered, mirrored,
    composed of two, with another focal length; photos of elsewhere; priors that are right and wrong."""
    from hfnet_core.benchmarks.judgement.collection import Hypotheses, collect, read_frames, read_hypotheses, source_key
    from hfnet_core.benchmarks.judgement.report import calibrated, priors_of, table
    from hfnet_core.features.sources import NamedSource
    from hfnet_core.files import make_folder, written_whole
    from hfnet_core.maps.storage import load_map

    pairs = [_pair(source) for source in sources]
    priors = priors_of(output, *_prior(prior)) if prior else None
    extractor = described.source(ExtractorConfig(), model, "onnxruntime")
    if isinstance(extractor, NamedSource):
        raise ConfigError("--features: files know no darkened, covered or mirrored images; give what describes images")
    kind = f"{described.features.partition('=')[0]}-" if described.given else ""
    files = _photo_files(foreign)
    photos = _photos(files)
    make_folder(work)
    parts: list[Hypotheses] = []
    asked = extractor.info.model_hash, every, most_foreign, *(file.name for file in files)
    for number, (name, (map_file, bag)) in enumerate(zip(_names(kind, pairs), pairs, strict=True)):
        kept = work / f"{name}-{source_key(map_file, bag, asked)}.npz"
        if not kept.exists():
            own = photos[number :: len(pairs)][:most_foreign]
            landmark_map = load_map(map_file, extractor.info.model_hash)
            with progress_bars() as progress:
                collect(landmark_map, read_frames(bag, every), own, extractor, name, progress).save(kept)
        collected = read_hypotheses(kept)
        parts.append(replace(collected, source=np.full(len(collected), name)))
    found = Hypotheses.joined(parts)
    others = [read_hypotheses(path) for path in sorted(work.glob("*.npz"))] if generic else []
    everything = Hypotheses.joined(others) if others else None
    written_whole(output, calibrated(found, extractor.info.model_hash, output, everything, priors))
    typer.echo(table(found, min_confidence, priors))
    typer.echo(f"{output}: calibrated on {len(found)} hypotheses of {len(parts)} recordings")


def _pair(source: str) -> tuple[Path, Path]:
    map_file, equals, bag = source.partition("=")
    if not equals or not Path(map_file).is_file() or not Path(bag).exists():
        raise ConfigError(f"{source}: write MAP=BAG, a map file and a recording that exist")
    return Path(map_file), Path(bag)


def _names(kind: str, pairs: Sequence[tuple[Path, Path]]) -> list[str]:
    """Of each source, by its recording; a name that comes again is numbered."""
    stems = [f"{kind}{bag.stem}" for _, bag in pairs]
    before = [stems[:number].count(stem) for number, stem in enumerate(stems)]
    return [f"{stem}-{count + 1}" if count else stem for stem, count in zip(stems, before, strict=True)]


def _prior(text: str) -> tuple[str, float]:
    model_hash, _, share = text.partition("=")
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise ConfigError(f"--prior {text}: write HASH=SHARE, a model of the file and a share between 0 and 1")
    return model_hash, value


def _photo_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not files:
        raise ConfigError(f"{folder}: no jpg or png photo in it")
    return files


def _photos(files: Sequence[Path]) -> Sequence[NDArray[np.uint8]]:
    from hfnet_core.images.pixels import to_gray
    from hfnet_core.images.reading import read_image

    return [np.asarray(to_gray(read_image(file)), np.uint8) for file in files]
