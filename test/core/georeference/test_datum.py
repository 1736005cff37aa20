"""The datum of a map."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.errors import MapError
from hfnet_core.geometry import Pose, Similarity
from hfnet_core.georeference.datum import Georeference
from hfnet_core.georeference.earth import Geodetic, enu_about

DATUM = Geodetic(48.0, 11.0, 500.0)
TURNED = Georeference(
    DATUM, Rotation.from_euler("z", 90, degrees=True).as_matrix(), residual_m=0.4, fixes=9, source="/fix"
)


def test_heading_is_that_of_the_x_axis_from_east_to_the_left() -> None:
    assert TURNED.heading_rad == pytest.approx(np.pi / 2)
    assert TURNED.tilt_deg == pytest.approx(0.0, abs=1e-5)


def test_a_point_ahead_of_a_map_that_looks_north_is_north() -> None:
    place = TURNED.place_of(np.array([100.0, 0.0, 2.0]))
    assert enu_about(DATUM, place.as_array())[0] == pytest.approx([0, 100, 2], abs=1e-6)


def test_the_datum_follows_a_map_that_is_moved() -> None:
    new_from_old = Similarity(
        1.0, Pose(Rotation.from_euler("z", -30, degrees=True).as_matrix(), np.array([5.0, 7.0, 1.0]))
    )
    moved = TURNED.moved(new_from_old)
    point = np.array([[3.0, -400.0, 2.0]])
    before, after = TURNED.place_of(point[0]), moved.place_of(new_from_old.apply(point)[0])
    assert after.as_array() == pytest.approx(before.as_array(), abs=1e-9)
    assert moved.heading_rad == pytest.approx(np.radians(120), abs=1e-4)


def test_a_map_that_is_scaled_keeps_its_place() -> None:
    new_from_old = Similarity(0.5, Pose(translation=np.array([1.0, 0.0, 0.0])))
    moved = TURNED.moved(new_from_old)
    assert moved.scale == pytest.approx(2.0)
    before, after = TURNED.place_of(np.array([8.0, 2.0, 0.0])), moved.place_of(np.array([5.0, 1.0, 0.0]))
    assert after.as_array() == pytest.approx(before.as_array(), abs=1e-9)


def test_what_a_map_keeps_of_it_is_read_again() -> None:
    again = Georeference.of({"georeference": json.loads(json.dumps(TURNED.as_dict()))})
    assert again is not None
    assert again.datum == DATUM
    assert again.enu_from_map == pytest.approx(TURNED.enu_from_map)
    assert (again.residual_m, again.fixes, again.source) == (0.4, 9, "/fix")
    assert Georeference.of({}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"latitude_deg": 91.0}, {"longitude_deg": float("nan")}, {"altitude_m": "high"}, {"scale": 0.0},
        {"enu_from_map_xyzw": [0, 0, 0, 0]}, {"enu_from_map_xyzw": [0, 0, 1]}, {"fixes": True},
    ],
)  # fmt: skip
def test_a_damaged_datum_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MapError, match="georeference"):
        Georeference.of({"georeference": {**TURNED.as_dict(), **change}})
    with pytest.raises(MapError, match="georeference"):
        Georeference.of({"georeference": []})


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), True, None, "1"])
@pytest.mark.parametrize("name", ["latitude_deg", "scale", "fixes"])
def test_numbers_that_are_none_are_refused_even_those_that_no_float_holds(name: str, value: object) -> None:
    with pytest.raises(MapError, match="its georeference"):
        Georeference.of({"georeference": {**TURNED.as_dict(), name: value}})
    with pytest.raises(MapError, match="its georeference has no rotation"):
        Georeference.of({"georeference": {**TURNED.as_dict(), "enu_from_map_xyzw": [0, 0, value, 1]}})
