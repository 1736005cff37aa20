"""Where on Earth the frame of a map is: what a map keeps, and how it follows when the map is moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hfnet_core.errors import MapError
from hfnet_core.geometry import Array, Pose, Similarity
from hfnet_core.georeference.earth import Geodetic, geodetic_of, local_axes

__all__ = ["KEY", "Georeference"]

KEY = "georeference"  # of a map's provenance
_RANGES = {"latitude_deg": 90.0, "longitude_deg": 180.0, "altitude_m": 1e5}
_LARGEST_M = 1e7


@dataclass(frozen=True, eq=False)
class Georeference:
    """The datum of a map, with its origin there.

    datum: place of the map's origin. enu_from_map: [3, 3] rotation to the axes east, north, up at the datum. scale:
    metres of the Earth for one of the map. residual_m: root mean square of the fixes that agree, horizontally.
    fixes: used; outliers: of them contradict the others; source: in words.
    """

    datum: Geodetic
    enu_from_map: Array
    scale: float = 1.0
    residual_m: float = 0.0
    fixes: int = 0
    outliers: int = 0
    source: str = ""

    @property
    def heading_rad(self) -> float:
        """Of the map's x axis: from east, counterclockwise (REP-103), as navsat_transform takes it."""
        return float(np.arctan2(self.enu_from_map[1, 0], self.enu_from_map[0, 0]))

    @property
    def tilt_deg(self) -> float:
        """How far the map's z axis is from up."""
        return float(np.degrees(np.arccos(np.clip(self.enu_from_map[2, 2], -1.0, 1.0))))

    def in_words(self) -> str:
        """Of the map's origin and its x axis."""
        at = self.datum
        return (
            f"{at.latitude_deg:.8f} N {at.longitude_deg:.8f} E, {at.altitude_m:.2f} m, x axis "
            f"{np.degrees(self.heading_rad):.2f} deg from east to north"
        )

    def place_of(self, point: Array) -> Geodetic:
        """Where a point [3] of the map is."""
        enu = self.scale * self.enu_from_map @ np.asarray(point, dtype=np.float64)
        return geodetic_of(local_axes(self.datum).apply(enu[None])[0])

    def moved(self, new_from_old: Similarity) -> Georeference:
        """That of the same map in another frame."""
        turn, shift = new_from_old.pose.rotation, new_from_old.pose.translation
        datum = self.place_of(-turn.T @ shift / new_from_old.scale)
        axes = local_axes(datum).rotation.T @ local_axes(self.datum).rotation  # east is elsewhere from there
        return replace(
            self, datum=datum, enu_from_map=axes @ self.enu_from_map @ turn.T, scale=self.scale / new_from_old.scale
        )

    def as_dict(self) -> dict[str, Any]:
        """For a map's provenance."""
        return {
            "latitude_deg": self.datum.latitude_deg,
            "longitude_deg": self.datum.longitude_deg,
            "altitude_m": self.datum.altitude_m,
            "enu_from_map_xyzw": [float(value) for value in Pose(self.enu_from_map).quat_xyzw()],
            "scale": self.scale,
            "residual_m": self.residual_m,
            "fixes": self.fixes,
            "outliers": self.outliers,
            "source": self.source,
        }

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Georeference | None:
        """What a map's provenance says, None where it says nothing. Raises MapError for what cannot be."""
        known = provenance.get(KEY)
        if known is None:
            return None
        if not isinstance(known, Mapping):
            raise MapError("its georeference is no table")
        degrees = [_number(known, name, largest) for name, largest in _RANGES.items()]
        quat = known.get("enu_from_map_xyzw")
        if not isinstance(quat, list) or len(quat) != 4 or not all(_is_number(value) for value in quat):
            raise MapError("its georeference has no rotation")
        if abs(math.sqrt(sum(value * value for value in quat)) - 1) > 1e-3:
            raise MapError("its georeference has a rotation that is none")
        scale = _number(known, "scale", _LARGEST_M)
        if scale <= 0:
            raise MapError(f"its georeference has a scale of {scale}")
        return cls(
            Geodetic(*degrees),
            Pose.from_quat_xyzw(quat, np.zeros(3)).rotation,
            scale,
            _number(known, "residual_m", _LARGEST_M),
            int(_number(known, "fixes", 1e12)),
            int(_number(known, "outliers", 1e12)),
            str(known.get("source", "")),
        )


def _is_number(value: Any) -> bool:
    if type(value) is int:  # of any length, which a float is not
        return abs(value) < 10**300
    return type(value) is float and math.isfinite(value)


def _number(known: Mapping[str, Any], name: str, largest: float) -> float:
    value = known.get(name)
    if not _is_number(value) or abs(value) > largest:  # type: ignore[arg-type]
        raise MapError(f"its georeference has a {name} of {str(value)[:20]}")
    return float(value)  # type: ignore[arg-type]
