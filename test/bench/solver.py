"""Our RANSAC beside pycolmap's on the same correspondences: which images get a pose, how right it is, what it costs.

    python test/bench/solver.py MAP.hfmap QUERY_BAG [--repeats 5] [--every 1]

QUERY_BAG has true poses in the map's frame. Both are asked, in turn, what the localizer asks first about each image
(the keyframes that resemble it most), and the same with the pixels shuffled among the landmarks, where nothing is to be
found. Times are processor time of one thread, the least of the repeats. Needs `pip install 'hfnet_ros[bags,mapping]'`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pycolmap
from rich.console import Console
from rich.table import Table

from hfnet_core.benchmarks.judgement.collection import read_frames
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization import pose
from hfnet_core.localization.absolute_pose.ransac import Ransac, Seen, solve_absolute_pose
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.maps.storage import load_map
from hfnet_core.threads import one_blas_thread

Answer = tuple[Pose, int] | None  # map_from_camera and the number of inliers
Solver = Callable[[Seen, Ransac], Answer]
RIGHT, WRONG = (0.25, 5.0), (0.5, 10.0)  # metres, degrees


@dataclass(frozen=True, eq=False)
class Question:
    """What the localizer asked about an image, and where that was."""

    seen: Seen
    ransac: Ransac
    truth: Pose

    def hopeless(self, seed: int) -> Question:
        shuffled = np.random.default_rng(seed).permutation(self.seen.pixels)
        return replace(self, seen=replace(self.seen, pixels=shuffled))


def questions_of(map_file: Path, bag: Path, every: int) -> list[Question]:
    extractor = Extractor(open_backend(None, "onnxruntime"))
    landmark_map = load_map(map_file, extractor.info.model_hash)
    localizer, asked = Localizer(landmark_map), []

    def listening(seen: Sequence[Seen], ransac: Ransac) -> tuple[Pose, np.ndarray] | None:
        calls.append((seen[0], ransac))
        return solve_absolute_pose(seen, ransac)

    with patch.object(pose, "solve_absolute_pose", listening):
        for frame in read_frames(bag, every):
            calls: list[tuple[Seen, Ransac]] = []
            localizer.localize([View(extractor.extract(frame.image), frame.camera)])
            if calls:
                asked.append(Question(*calls[0], frame.map_from_camera))
    return asked


def ours(seen: Seen, ransac: Ransac) -> Answer:
    answer = solve_absolute_pose([seen], ransac)
    return None if answer is None else (answer[0], int(answer[1].sum()))


def of_pycolmap(seen: Seen, ransac: Ransac) -> Answer:
    camera, options = seen.camera, pycolmap.AbsolutePoseEstimationOptions()
    options.ransac = pycolmap.RANSACOptions(
        max_error=ransac.max_error_px,
        min_num_trials=ransac.min_iterations,
        max_num_trials=ransac.max_iterations,
        dyn_num_trials_multiplier=1.0,
        confidence=ransac.confidence,
        random_seed=ransac.seed,
    )
    theirs = pycolmap.Camera(model=camera.model, width=camera.width, height=camera.height, params=list(camera.params))
    answer = pycolmap.estimate_absolute_pose(seen.pixels, seen.points_map, theirs, options)
    if answer is None:
        return None
    return Pose.from_matrix(answer["cam_from_world"].matrix()).inverse(), int(answer["num_inliers"])


OURS, REFERENCE = "ours", "pycolmap's"
SOLVERS: dict[str, Solver] = {OURS: ours, REFERENCE: of_pycolmap}


def asked_in_turn(questions: Sequence[Question], repeats: int) -> tuple[dict[str, list[Answer]], dict[str, np.ndarray]]:
    """Answers of each solver, and the milliseconds [questions] they took."""
    answers: dict[str, list[Answer]] = {name: [] for name in SOLVERS}
    took = {name: np.full((len(questions), repeats), np.inf) for name in SOLVERS}
    for index, question in enumerate(questions):
        for repeat in range(repeats):
            for name, solver in SOLVERS.items():
                start = time.thread_time()
                answer = solver(question.seen, question.ransac)
                took[name][index, repeat] = 1e3 * (time.thread_time() - start)
                if repeat == 0:
                    answers[name].append(answer)
    return answers, {name: times.min(axis=1) for name, times in took.items()}


def table(questions: Sequence[Question], repeats: int) -> Table:
    rows = Table("", "right", "wrong", "inliers", "usual ms", "p95", "hopeless ms", "p95", "inliers there")
    answers, took = asked_in_turn(questions, repeats)
    nothing, in_vain = asked_in_turn([one.hopeless(index) for index, one in enumerate(questions)], repeats)
    for name in SOLVERS:
        errors = [
            pose_error(answer[0], question.truth) if answer is not None else (np.nan, np.nan)
            for answer, question in zip(answers[name], questions, strict=True)
        ]
        right = sum(metres <= RIGHT[0] and degrees <= RIGHT[1] for metres, degrees in errors)
        wrong = sum(metres > WRONG[0] or degrees > WRONG[1] for metres, degrees in errors)
        inliers = [0 if answer is None else answer[1] for answer in answers[name]]
        most = max(0 if answer is None else answer[1] for answer in nothing[name])
        times = [f"{np.percentile(took_, share):.2f}" for took_ in (took[name], in_vain[name]) for share in (50, 95)]
        rows.add_row(name, str(right), str(wrong), f"{np.median(inliers):.0f}", *times, f"at most {most}")
    ratios = [f"{np.median(times[OURS] / times[REFERENCE]):.2f}" for times in (took, in_vain)]
    rows.add_row("ratio, median of images", "", "", "", ratios[0], "", ratios[1], "", "")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="take each n-th image")
    arguments = parser.parse_args()
    one_blas_thread()
    questions = questions_of(arguments.map, arguments.bag, arguments.every)
    console = Console()
    console.print(table(questions, arguments.repeats))
    sizes = [len(question.seen.pixels) for question in questions]
    console.print(f"{len(questions)} images with matches, {np.median(sizes):.0f} at the median")


if __name__ == "__main__":
    main()
