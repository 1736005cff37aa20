"""Three visits in seven months to a room that changes, with our own network: the map follows, and no pose is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from months import months, visit

from hfnet_core.config import ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maintenance.updating.held_back import Held, recall_of
from hfnet_core.maintenance.updating.update import update_with_keyframes
from hfnet_core.mapping.builder import Placed, build_from_keyframes
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localized

IMAGES = 20


def explained(landmark_map: LandmarkMap, held: Sequence[Held]) -> int:
    """Keypoints of all images that poses explain."""
    localizer = Localizer(landmark_map, LocalizerConfig(search_budget_ms=1000.0))
    found = [localizer.localize([one.view]) for one in held]
    return sum(one.guided for one in found if isinstance(one, Localized))


@pytest.mark.timeout(900)
def test_a_map_that_follows_its_room_recognises_more_of_it_and_nothing_wrongly() -> None:
    extractor = Extractor(open_backend(None, "onnxruntime", 1), ExtractorConfig(max_keypoints=600))
    rooms = months(8)
    reading, _ = visit(0, rooms[0], extractor, IMAGES)
    old = build_from_keyframes(Placed(reading.keyframes), extractor.info, MapBuildConfig())
    updated = old
    for number in (2, 4, 6):
        reading, _ = visit(number, rooms[number], extractor, IMAGES)
        updated = update_with_keyframes(updated, [reading], MapBuildConfig()).landmark_map
    reading, poses = visit(7, rooms[7], extractor, IMAGES)
    held = [Held(View(k.features, k.camera), pose) for k, pose in zip(reading.keyframes, poses, strict=True)]
    without, followed = recall_of(old, held), recall_of(updated, held)
    assert (without.wrong, followed.wrong) == (0, 0)
    assert followed.right >= without.right
    assert explained(updated, held) > 1.05 * explained(old, held)
    assert len(updated.landmark_hits) == updated.landmarks
