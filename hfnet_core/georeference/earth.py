"""WGS 84: geodetic coordinates, Earth-centred ones (ECEF), and local axes east, north, up (ENU).

Altitudes are above the ellipsoid, as in sensor_msgs/NavSatFix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hfnet_core.geometry import Array, Pose

__all__ = ["Geodetic", "ecef", "enu_about", "geodetic_of", "local_axes"]

_A_M = 6378137.0  # semi-major axis
_F = 1 / 298.257223563  # flattening
_E2 = _F * (2 - _F)
_ROUNDS = 6  # of the iteration for the latitude; four leave less than a nanometre near the ground


@dataclass(frozen=True)
class Geodetic:
    """A place: degrees north, degrees east, metres above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float = 0.0

    def as_array(self) -> Array:
        """[3] latitude, longitude, altitude."""
        return np.array([self.latitude_deg, self.longitude_deg, self.altitude_m])


def ecef(places: ArrayLike) -> Array:
    """Earth-centred coordinates [N, 3] in metres of latitudes, longitudes (degrees) and altitudes (metres) [N, 3]."""
    latitude, longitude, altitude = np.asarray(places, dtype=np.float64).reshape(-1, 3).T
    phi, lam = np.radians(latitude), np.radians(longitude)
    across = _A_M / np.sqrt(1 - _E2 * np.sin(phi) ** 2)  # radius of curvature from east to west
    level = (across + altitude) * np.cos(phi)
    return np.stack([level * np.cos(lam), level * np.sin(lam), (across * (1 - _E2) + altitude) * np.sin(phi)], axis=1)


def geodetic_of(point: ArrayLike) -> Geodetic:
    """The place of an Earth-centred point [3], within a hundred kilometres of the ground."""
    x, y, z = np.asarray(point, dtype=np.float64)
    level = float(np.hypot(x, y))
    phi = np.arctan2(z, level * (1 - _E2))
    for _ in range(_ROUNDS):
        across = _A_M / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
        phi = np.arctan2(z + _E2 * across * np.sin(phi), level)
    across = _A_M / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    # Along the local vertical, which divides by nothing small at the poles either.
    altitude = level * np.cos(phi) + z * np.sin(phi) - _A_M**2 / across
    return Geodetic(float(np.degrees(phi)), float(np.degrees(np.arctan2(y, x))), float(altitude))


def local_axes(place: Geodetic) -> Pose:
    """ecef_from_enu: axes east, north, up with their origin at a place."""
    phi, lam = np.radians(place.latitude_deg), np.radians(place.longitude_deg)
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    return Pose(np.stack([east, np.cross(up, east), up], axis=1), ecef(place.as_array())[0])


def enu_about(datum: Geodetic, places: ArrayLike) -> Array:
    """Metres east, north, up [N, 3] of a datum, of latitudes, longitudes and altitudes [N, 3]."""
    return local_axes(datum).inverse().apply(ecef(places))
