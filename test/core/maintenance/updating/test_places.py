"""Where something has happened, in a few words."""

from __future__ import annotations

import numpy as np
from scene import Scene, walk

from hfnet_core.maintenance.updating.places import places_of


def test_the_cells_with_most_points_are_named_with_their_number() -> None:
    room = Scene.make(600).build_map(walk(8))
    points = np.array([[0.5, 0.5, 1.0]] * 3 + [[4.5, -1.0, 0.2]] * 5 + [[-7.0, 1.0, 0.0]])
    assert places_of(room, points) == ("(5, -1): 5", "(1, 1): 3", "(-7, 1): 1")
    assert places_of(room, np.zeros((0, 3))) == ()
