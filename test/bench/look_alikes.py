"""Places that look alike, rendered: what the product says of them, image by image and along the way.

    python test/bench/look_alikes.py --work FOLDER [--size 320x240] [rooms rooms-reversed corridor floors street]

Each place is rendered on two days, mapped with its exact poses by the code of `hfnet map build`, and visited: every
image by itself, by tracking without odometry, and by tracking with odometry that drifts (by 1 % and half a degree per
metre). `told apart`: the first image of a visit a tenth of whose pixels look otherwise from every double of the place;
`resolved`: how many images after it the first right pose of that mode comes. Wrong: beyond 50 cm or 10 degrees.
FOLDER keeps what was rendered and mapped for the next run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hfnet_core.benchmarks.localization_bench import Query, read_queries
from hfnet_core.config import UNHURRIED_MS, ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.synthetic.alike.corridor import corridor_of_doors
from hfnet_core.synthetic.alike.floors import four_floors
from hfnet_core.synthetic.alike.place import Place, Way, told_apart
from hfnet_core.synthetic.alike.recording import MAPPED, VISITED, record_way
from hfnet_core.synthetic.alike.rooms import two_rooms
from hfnet_core.synthetic.alike.street import street
from hfnet_core.synthetic.odometry import drifted
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.types import Camera, Localization, Localized, Reason

PLACES: dict[str, Callable[[], Place]] = {
    "rooms": two_rooms,
    "corridor": corridor_of_doors,
    "floors": four_floors,
    "street": street,
}
REVERSED = "rooms-reversed"  # the same rooms, the second one first in the map
WRONG_M, WRONG_DEG = 0.5, 10.0
TOLD = 0.1  # share of an image that differs
# tens of keyframes of a place
BUILDING = MapBuildConfig(keyframe_distance_m=0.3, keyframe_angle_deg=12.0, max_keypoints=800, pairs_per_keyframe=10)
MODES = ("each alone", "tracking", "with odometry")


@dataclass(frozen=True, eq=False)
class Visit:
    """A drive as features, and of each image how much of it (0..1) tells the place from its doubles."""

    way: Way
    queries: list[Query]
    told: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", choices=[*PLACES, REVERSED, []], help="default: all")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--verbose", action="store_true", help="a letter for each image")
    parser.add_argument("--budget-ms", type=float, default=UNHURRIED_MS)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    camera = Camera("PINHOLE", width, height, (0.75 * width, 0.75 * width, (width - 1) / 2, (height - 1) / 2))
    config = LocalizerConfig(search_budget_ms=options.budget_ms)
    print(f"{'':34}{'mode':15}{'images':>7}{'right':>7}{'AMBIGUOUS':>11}{'refused':>9}{'wrong':>7}  resolved")
    for name in options.places or [*PLACES, REVERSED]:
        rendered = "rooms" if name == REVERSED else name
        folder = options.work / f"{rendered}-{options.size}"
        landmark_map, visits = prepared(PLACES[rendered](), camera, folder, backwards=name == REVERSED)
        for visit in visits:
            for mode in MODES:
                found = answers(landmark_map, visit, mode, config)
                letters = verdicts(found, visit.way.poses)
                print(row(f"{name}, {visit.way.name}", mode, letters, visit.told), flush=True)
                if options.verbose:
                    print("    " + letters, flush=True)
            if options.verbose:
                print("    " + "".join(str(min(int(10 * share), 9)) for share in visit.told), flush=True)


def prepared(place: Place, camera: Camera, folder: Path, *, backwards: bool) -> tuple[LandmarkMap, list[Visit]]:
    """The map and the visits of a place; rendered and mapped only where the folder does not have them.

    backwards: the last pass first in the map.
    """
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(camera, place.quads)
    backend = open_backend(None, "onnxruntime")
    for day, sensor, ways in (("map", MAPPED, place.passes), ("query", VISITED, place.visits)):
        for number, way in enumerate(ways):
            bag, start_s = folder / f"{day}{number}", 1_700_000_000 + 10_000 * number + 100_000 * (day == "query")
            if not bag.exists():
                record_way(way, renderer, sensor, bag, start_s=start_s, seed=number + 50 * (day == "query"))
    file = folder / ("backwards.hfmap" if backwards else "place.hfmap")
    if not file.exists():
        config = BUILDING
        bags = [folder / f"map{number}" for number in range(len(place.passes))]
        extractor = Extractor(backend, config.extraction)
        save_map(build_map(bags[::-1] if backwards else bags, extractor, config), file)
    extractor = Extractor(backend, ExtractorConfig())
    rough = Renderer(camera.scaled(camera.width // 2, camera.height // 2), place.quads, oversampling=1)
    visits = [
        Visit(
            way,
            read_queries(folder / f"query{number}", extractor),
            [told_apart(rough, pose, way.doubles) for pose in way.poses],
        )
        for number, way in enumerate(place.visits)
    ]
    return load_map(file, extractor.info.model_hash), visits


def answers(landmark_map: LandmarkMap, visit: Visit, mode: str, config: LocalizerConfig) -> list[Localization]:
    """What is said of each image of a visit."""
    localizer = Localizer(landmark_map, config)
    if mode == "each alone":
        return [localizer.localize([View(query.features, query.camera)]) for query in visit.queries]
    tracker, poses = Tracker(localizer), visit.way.poses
    odometry: Iterable[Pose | None] = drifted(poses) if mode == "with odometry" else [None] * len(poses)
    return [
        tracker.process([View(query.features, query.camera)], query.stamp_ns * 1e-9, moved)
        for query, moved in zip(visit.queries, odometry, strict=True)
    ]


def verdicts(found: Sequence[Localization], truth: Sequence[Pose]) -> str:
    """A letter for each image: r right, A ambiguous, - refused otherwise, W wrong."""
    return "".join(_verdict(answer, pose) for answer, pose in zip(found, truth, strict=True))


def _verdict(answer: Localization, truth: Pose) -> str:
    if not isinstance(answer, Localized):
        return "A" if answer.reason is Reason.AMBIGUOUS else "-"
    metres, degrees = pose_error(answer.map_from_camera, truth)
    return "W" if metres > WRONG_M or degrees > WRONG_DEG else "r"


def row(name: str, mode: str, letters: str, told: Sequence[float]) -> str:
    counts = "".join(f"{letters.count(letter):>{width}}" for letter, width in (("r", 7), ("A", 11), ("-", 9), ("W", 7)))
    return f"{name:34}{mode:15}{len(letters):>7}{counts}  {resolved(letters, told)}"


def resolved(letters: str, told: Sequence[float]) -> str:
    """How many images after the first that tells the place a right pose came; + or - of it."""
    first = next((index for index, share in enumerate(told) if share >= TOLD), None)
    if first is None or first == 0:
        return "" if first == 0 else "nothing tells it apart"
    right = letters.find("r")
    return "never" if right < 0 else f"{right - first:+d}"


if __name__ == "__main__":
    main()
