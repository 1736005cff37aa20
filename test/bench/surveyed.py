"""Photos from surveyed positions: a map of two thirds of them, the rest localized, one image at a time.

    python test/bench/surveyed.py [--as-aachen] FOLDER...

A FOLDER has photos and beside each NAME.camera as the multi-view data of Strecha et al., CVPR 2008: calibration matrix,
a line of zeros, rotation (world from camera), centre, size of the image the calibration is of. Every photo is a query
once. The table says how many are localized, how many of these are wrong (over 50 cm or 10 degrees), and the errors.
--as-aachen: laid out as Aachen Day-Night, with an NVM model of SIFT by pycolmap, through `hfnet benchmark`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from hfnet_core.benchmarks import localization_bench as bench
from hfnet_core.benchmarks.datasets.catalogue import open_dataset
from hfnet_core.benchmarks.paper.place_run import Extractors
from hfnet_core.benchmarks.paper.presets import preset_of
from hfnet_core.benchmarks.paper.run import Options, run_dataset
from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.evaluation.metrics import Sample, score
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.recordings.bag_writer import write_folder_bag

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from surveyed_as_aachen import as_aachen
from surveyed_photos import surveyed

FOLDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--as-aachen", action="store_true")
    options = parser.parse_args()
    print(f"{'photos of':16}{'localized':>12}{'wrong':>7}  median, largest error")
    for folder in options.folders:
        found = score(localized_as_aachen(folder) if options.as_aachen else localized(folder))
        errors = "-"
        if found.distance_m is not None and found.angle_deg is not None:
            errors = ", ".join(f"{100 * metres:.2f} cm {degrees:.3f}°" for metres, degrees in (
                (found.distance_m.p50, found.angle_deg.p50), (found.distance_m.max, found.angle_deg.max)))  # fmt: skip
        print(f"{folder.name:16}{f'{found.published} of {found.images}':>12}{found.wrong:>7}  {errors}")


def localized(folder: Path, folds: range = range(FOLDS)) -> list[Sample]:
    """A sample for each photo that is left out of a map."""
    camera, frames = surveyed(folder)
    backend, config = open_backend(None), MapBuildConfig()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as scratch:
        for fold in folds:
            bags = Path(scratch) / f"map{fold}", Path(scratch) / f"query{fold}"
            for bag, wanted in zip(bags, (False, True), strict=True):
                chosen = [frame for index, frame in enumerate(frames) if (index % FOLDS == fold) is wanted]
                write_folder_bag(chosen, camera, bag, storage="mcap")
            landmark_map = build_map([bags[0]], Extractor(backend, config.extraction), config)
            localize = bench.globally(landmark_map)
            queries = bench.read_queries(bags[1], Extractor(backend, ExtractorConfig()))
            samples += [bench.sample_of(query, localize(query)) for query in queries]
    return samples


def localized_as_aachen(folder: Path, folds: range = range(FOLDS)) -> list[Sample]:
    """A sample for each photo, with the settings of the paper's evaluation on Aachen."""
    preset, backend = preset_of("aachen"), open_backend(None, "onnxruntime")
    extractors = Extractors(Extractor(backend, preset.building.extraction), Extractor(backend, preset.extraction))
    samples: list[Sample] = []
    for fold in folds:
        with tempfile.TemporaryDirectory() as scratch:
            truth = as_aachen(folder, Path(scratch) / "data", fold)
            dataset, options = (
                open_dataset("aachen", Path(scratch) / "data"),
                Options(("aachen",), ("day",), pictures=0),
            )
            found = run_dataset(dataset, Path(scratch) / "out", preset, extractors, options)
            samples += [
                Sample(number, truth[answer.name], answer.map_from_camera, reason=answer.state)
                for number, answer in enumerate(found.answers)
            ]
    return samples


if __name__ == "__main__":
    main()
