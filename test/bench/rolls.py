"""`python test/bench/rolls.py MAP QUERY_BAG`: a recording localized as if its camera had rolled about the optical axis.

Every image is turned about the principal point; what it does not show repeats its border. Each on its own, with
`localizer.turns` off and search (all turns tried), and one after the other as a node does, at the default search
budget: how many get a right pose, as a share of the first angle's, and how many a wrong one. `upright, as much shown`
is the rolled image turned back, which has lost what the rolled one does not show. `--way` names some of these.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.config import UNHURRIED_MS, EvaluationConfig, ExtractorConfig, LocalizerConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.preparation import Preparation
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.localization.turning.turns import Answers, Turns
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map
from hfnet_core.projection import project_in_camera, rays_of
from hfnet_core.recordings.bags import Bag, BagFrame
from hfnet_core.threads import one_blas_thread
from hfnet_core.types import Camera, Localization, Localized

WAYS = ("alone, off", "alone, search", "following, off", "following, search", "upright, as much shown")
Look = Callable[[str, int], View]
Arm = Callable[[Look, float], Localization]


class Roll:
    """A camera of this calibration, rolled clockwise as the photographer sees it."""

    def __init__(self, camera: Camera, degrees: float) -> None:
        self.upright_from_rolled = Pose(Rotation.from_euler("z", degrees, degrees=True).as_matrix())
        columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        rays = rays_of(camera, np.column_stack([columns.ravel(), rows.ravel()]))
        shown = project_in_camera(camera, rays @ self.upright_from_rolled.rotation.T)
        self._source = shown.astype(np.float32).reshape(camera.height, camera.width, 2)

    def image(self, upright: np.ndarray) -> np.ndarray:
        return cv2.remap(upright, self._source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def alone(landmark_map: LandmarkMap, turns: str) -> Arm:
    config = LocalizerConfig(search_budget_ms=UNHURRIED_MS, turns=turns)
    localizer = Localizer(landmark_map, config)
    tried = Turns(config, patient=True)

    def localize(look: Look, stamp_s: float) -> Localization:
        tried.forget()
        ask = Answers(localizer.localize, look, lambda: landmark_map)
        return tried.find({"": look("", tried.rotation("", 0))}, ask).result

    return localize


def following(landmark_map: LandmarkMap, turns: str) -> Arm:
    config = LocalizerConfig(turns=turns)
    tracker, tried = Tracker(Localizer(landmark_map, config)), Turns(config)

    def localize(look: Look, stamp_s: float) -> Localization:
        ask = Answers(lambda views: tracker.process(views, stamp_s), look, lambda: landmark_map)
        return tried.find({"": look("", tried.rotation("", 0))}, ask).result

    return localize


def looks(frame: BagFrame, image: np.ndarray, extractor: Extractor) -> Look:
    """Views of an image turned one way or another, each described once."""
    known: dict[int, View] = {}

    def look(_: str, rotation: int) -> View:
        if rotation not in known:
            known[rotation] = View(Preparation(rotation).extract(extractor, image), frame.camera)
        return known[rotation]

    return look


def verdict(result: Localization, truth: Pose) -> str:
    if not isinstance(result, Localized):
        return "refused"
    metres, degrees = pose_error(result.map_from_camera, truth)
    limits = EvaluationConfig()
    right = metres <= limits.wrong_distance_m and degrees <= limits.wrong_angle_deg
    return "right" if right else "wrong"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--degrees", type=float, nargs="*", default=[0, 30, 45, 60, 90, 135, 180])
    parser.add_argument("--every", type=int, default=1, help="only every so many images, at the pace of all of them")
    parser.add_argument("--way", action="append", choices=WAYS, help=", ".join(WAYS))
    given = parser.parse_args()
    one_blas_thread()
    landmark_map = load_map(given.map)
    extractor = Extractor(open_backend(kind="onnxruntime", threads=1), ExtractorConfig())
    with Bag(given.bag) as bag:
        frames = [frame for frame in bag.frames() if frame.index % given.every == 0]
    frames = [frame for frame in frames if frame.map_from_camera is not None]
    first: dict[str, int] = {}
    for degrees in given.degrees:
        for name, counts in rolled(landmark_map, extractor, frames, degrees, given.way or WAYS).items():
            first.setdefault(name, max(counts["right"], 1))
            share = counts["right"] / first[name]
            print(
                f"{degrees:4g} deg, {name:22s} {counts['right']} of {len(frames)} right ({share:.0%} of the first), "
                f"{counts['wrong']} wrong",
                flush=True,
            )


def rolled(
    landmark_map: LandmarkMap, extractor: Extractor, frames: Sequence[BagFrame], degrees: float, ways: Sequence[str]
) -> dict[str, Counter[str]]:
    arms = {
        name: (following if name.startswith("following") else alone)(
            landmark_map, "search" if name.endswith("search") else "off"
        )
        for name in ways
    }
    counts: dict[str, Counter[str]] = {name: Counter() for name in arms}
    roll, back = Roll(frames[0].camera, degrees), Roll(frames[0].camera, -degrees)
    for frame in frames:
        assert frame.map_from_camera is not None
        gray = frame.image if frame.image.ndim == 2 else cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        image, truth = roll.image(gray), frame.map_from_camera @ roll.upright_from_rolled
        shared = looks(frame, image, extractor)
        for name, arm in arms.items():
            look, pose = shared, truth
            if name == "upright, as much shown":
                look, pose = looks(frame, back.image(image), extractor), frame.map_from_camera
            elif name == "following, search":  # it pays for what it tries
                look = looks(frame, image, extractor)
            counts[name][verdict(arm(look, frame.stamp_ns * 1e-9), pose)] += 1
    return counts


if __name__ == "__main__":
    main()
