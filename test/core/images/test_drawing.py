"""The picture of what the localizer saw: matches coloured by what became of them."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.geometry import Pose
from hfnet_core.images.drawing import draw
from hfnet_core.types import Features, Localization, Localized, Mode, NotLocalized, Reason

USED, UNUSED = np.array([[60.0, 60.0]], np.float32), np.array([[100.0, 80.0]], np.float32)
GREEN, RED, ORANGE = (40, 220, 60), (235, 60, 50), (250, 160, 20)


def localized() -> Localized:
    return Localized(Pose(), np.eye(6), Mode.TRACKING, 1, 2, USED, np.zeros(1, np.int32), (0,), 0.5, 1.0,
                     unused_px=UNUSED)  # fmt: skip


@pytest.mark.parametrize(
    ("result", "at_used", "at_unused"),
    [
        (localized(), GREEN, RED),
        (NotLocalized(Reason.WEAK_EVIDENCE, unused_px=UNUSED), None, RED),
        (NotLocalized(Reason.INCONSISTENT, unused_px=UNUSED), None, ORANGE),
    ],
)
@pytest.mark.parametrize("pixels", [np.zeros((120, 160), np.uint8), np.zeros((120, 160, 3), np.uint16)])
def test_matches_by_state(result: Localization, at_used: object, at_unused: object, pixels: np.ndarray) -> None:
    keypoints = np.vstack([USED, UNUSED])
    features = Features(
        keypoints, np.ones(2, np.float32), np.eye(2, dtype=np.float32), np.ones(1, np.float32), 160, 120
    )
    canvas = draw(pixels, features, result)
    ring = [tuple(int(v) for v in canvas[int(y), int(x) + 2]) for x, y in np.vstack([USED, UNUSED])]
    assert ring[0] == (at_used or (0, 0, 0))
    assert ring[1] == at_unused
