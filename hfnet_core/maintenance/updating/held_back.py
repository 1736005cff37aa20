"""Images that an update does not learn from: what they say of a map before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hfnet_core.config import UNHURRIED_MS, EvaluationConfig, LocalizerConfig
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.mapping.look_alikes import features_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.subset import keep_keyframes
from hfnet_core.types import Localized

__all__ = ["Held", "Recall", "of_keyframes", "recall_of"]


@dataclass(frozen=True, eq=False)
class Held:
    """An image held back. map_from_camera: where it was taken, None where nothing but a localization could tell."""

    view: View
    map_from_camera: Pose | None


@dataclass(frozen=True)
class Recall:
    """How many of `asked` images were localized, and how many of these elsewhere than they should be."""

    asked: int
    localized: int
    wrong: int

    @property
    def right(self) -> int:
        return self.localized - self.wrong

    def __str__(self) -> str:
        wrong = f", {self.wrong} of them wrong" if self.wrong else ""
        return f"{self.localized} of {self.asked}{wrong}"


def recall_of(landmark_map: LandmarkMap, held: Sequence[Held]) -> Recall:
    """Each image on its own, as a robot that has just been switched on."""
    localizer = Localizer(landmark_map, LocalizerConfig(tracking=False, search_budget_ms=UNHURRIED_MS))
    localized, wrong, limits = 0, 0, EvaluationConfig()
    for item in held:
        found = localizer.localize([item.view])
        if not isinstance(found, Localized):
            continue
        localized += 1
        if item.map_from_camera is not None:
            metres, degrees = pose_error(found.map_from_camera, item.map_from_camera)
            wrong += metres > limits.wrong_distance_m or degrees > limits.wrong_angle_deg
    return Recall(len(held), localized, wrong)


def of_keyframes(landmark_map: LandmarkMap, asked: NDArray[np.integer]) -> tuple[LandmarkMap, list[Held]]:
    """Some of a map's own keyframes as images held back, and the map without them."""
    kept = np.ones(landmark_map.keyframes, dtype=bool)
    kept[asked] = False
    held = []
    for keyframe in asked.tolist():
        camera = landmark_map.cameras[landmark_map.keyframe_cameras[keyframe]]
        held.append(Held(View(features_of(landmark_map, keyframe), camera), landmark_map.map_from_camera(keyframe)))
    return keep_keyframes(landmark_map, kept), held
