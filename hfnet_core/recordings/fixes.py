"""Fixes of a satellite receiver in a recording."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.recordings.bag_reader import BagReader, Topic, stamp_of
from hfnet_core.recordings.transforms import TransformError
from hfnet_core.recordings.trees import SeveralTreesError, Trees

__all__ = ["GPS", "NoFixes", "read_fixes"]

GPS = "sensor_msgs/NavSatFix"
_NO_FIX = 0  # statuses below it
_UNKNOWN = 0  # covariance type
_SIGMAS_M = (3.0, 6.0)  # of a receiver that does not say how good it is, in the open
_BEST_M = 0.005  # nobody is better while moving; some drivers fill in a millionth
_LARGEST_ALTITUDE_M = 1e5


class NoFixes(str):
    """Why a recording has no fixes that could be used; "" where it has no receiver at all."""


def read_fixes(reader: BagReader, trees: Trees, camera_frame: str, topic: str | None) -> GpsTrack | NoFixes:
    """The usable fixes of a topic, or of the only one there is.

    Left out and counted are fixes that their status calls none, and positions that are no numbers, off the globe or
    all zero. Raises DatasetError for a named topic that is missing or holds no fixes.
    """
    chosen = _choose(reader, topic)
    if isinstance(chosen, NoFixes):
        return chosen
    dropped: Counter[str] = Counter()
    rows, frame = [], ""
    try:
        for _, recorded_ns, message in reader.messages([chosen.name]):
            if reason := _unusable(message):
                dropped[reason] += 1
                continue
            frame = frame or str(message.header.frame_id).lstrip("/")
            rows.append((stamp_of(message, recorded_ns), _place(message), _sigmas(message)))
    except DatasetError as error:
        if topic is not None:
            raise
        return NoFixes(str(error))  # of a receiver that nobody asked for
    if not rows:
        said = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        return NoFixes(f"none of the fixes of {chosen.name} can be used ({said})")
    rows.sort(key=lambda row: row[0])
    stamps = np.array([row[0] for row in rows], dtype=np.int64)
    antennas = _antennas(trees, camera_frame, frame, [row[0] for row in rows])
    return GpsTrack(
        chosen.name,
        stamps,
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
        np.zeros((len(rows), 3)) if antennas is None else antennas,
        dict(dropped),
        antenna_known=antennas is not None,
    )


def _choose(reader: BagReader, name: str | None) -> Topic | NoFixes:
    if name is not None:
        topic = reader.topic(name)
        if topic.type != GPS:
            raise DatasetError(f"{reader.path}: {topic} is no {GPS}")
        return topic
    found = reader.of_type(GPS)
    if len(found) > 1:
        listed = ", ".join(str(topic) for topic in found)
        return NoFixes(f"several GPS topics, choose one with --gps-topic: {listed}")
    return found[0] if found else NoFixes()


def _place(message: Any) -> tuple[float, float, float]:
    altitude = float(message.altitude)
    known = abs(altitude) < _LARGEST_ALTITUDE_M  # False for NaN: a receiver without altitude
    return float(message.latitude), float(message.longitude), altitude if known else np.nan


def _unusable(message: Any) -> str:
    """Why a fix is none, "" for a good one."""
    if int(message.status.status) < _NO_FIX:
        return "without a fix"
    latitude, longitude = float(message.latitude), float(message.longitude)
    if not (abs(latitude) <= 90 and abs(longitude) <= 180) or (latitude == 0 and longitude == 0):  # False for NaN
        return "without a position"
    return ""


def _sigmas(message: Any) -> tuple[float, float]:
    """Standard deviations, horizontal and vertical."""
    east, north, up = (float(message.position_covariance[index]) for index in (0, 4, 8))
    horizontal, vertical = _SIGMAS_M
    if int(message.position_covariance_type) != _UNKNOWN:
        if np.isfinite([east, north]).all() and east > 0 and north > 0:
            horizontal = float(np.sqrt((east + north) / 2))
        vertical = float(np.sqrt(up)) if np.isfinite(up) and up > 0 else 2 * horizontal
    return max(horizontal, _BEST_M), max(vertical, _BEST_M)


def _antennas(trees: Trees, camera_frame: str, frame: str, stamps_ns: list[int]) -> Array | None:
    """[N, 3] where the antenna is in the camera's frame, None where transforms do not tell at every stamp."""
    if frame == camera_frame:
        return np.zeros((len(stamps_ns), 3))
    try:
        transforms = trees.of(camera_frame).transforms
        if not transforms.connects(camera_frame, frame):
            return None
        if transforms.is_static(camera_frame, frame):
            return np.tile(transforms.lookup(camera_frame, frame, 0).translation, (len(stamps_ns), 1))
        return np.array([transforms.lookup(camera_frame, frame, stamp).translation for stamp in stamps_ns])
    except (SeveralTreesError, TransformError):
        return None
