"""WGS 84, against published values."""

from __future__ import annotations

import numpy as np
import pytest

from hfnet_core.georeference.earth import Geodetic, ecef, enu_about, geodetic_of, local_axes


def test_points_on_the_axes_of_the_ellipsoid() -> None:
    equator, east, pole = ecef([[0, 0, 0], [0, 90, 100], [90, 0, 0]])
    assert equator == pytest.approx([6378137.0, 0, 0], abs=1e-6)
    assert east == pytest.approx([0, 6378237.0, 0], abs=1e-6)
    assert pole == pytest.approx([0, 0, 6356752.314245], abs=1e-5)


@pytest.mark.parametrize(
    "place", [(48.1, 11.6, 519.0), (-33.9, 151.2, 5.0), (0.0, -179.999, -40.0), (89.9999, 12.0, 0.0)]
)
def test_earth_centred_coordinates_lead_back_to_the_place(place: tuple[float, float, float]) -> None:
    found = geodetic_of(ecef([place])[0])
    assert found.latitude_deg == pytest.approx(place[0], abs=1e-11)
    assert found.longitude_deg == pytest.approx(place[1], abs=1e-9)
    assert found.altitude_m == pytest.approx(place[2], abs=1e-6)


def test_local_axes_point_east_north_and_up() -> None:
    datum = Geodetic(48.0, 11.0, 500.0)
    degree_north_m, degree_east_m = 111_200.4, 74_624.5  # radii of curvature of WGS 84 at 48 degrees
    east, north, up = enu_about(datum, [[48, 11.001, 500], [48.001, 11, 500], [48, 11, 507]])
    assert east == pytest.approx([degree_east_m / 1000, 0, 0], abs=0.02)
    assert north == pytest.approx([0, degree_north_m / 1000, 0], abs=0.02)
    assert up == pytest.approx([0, 0, 7], abs=1e-6)
    assert np.linalg.det(local_axes(datum).rotation) == pytest.approx(1.0)
