"""Fixes of recordings beside the poses of keyframes: where a map is on Earth, and how large it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose
from hfnet_core.georeference.datum import KEY, Georeference
from hfnet_core.georeference.earth import Geodetic, enu_about, geodetic_of, local_axes
from hfnet_core.georeference.fitting import Level, Sightings, Surveyed, fit_earth
from hfnet_core.georeference.track import GpsTrack
from hfnet_core.mapping.keyframes.reading import Keyframe, Reading
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.gravity import mean_up

__all__ = ["MISSING", "Timed", "believed_level", "georeferenced", "survey", "timed", "with_gps"]

MISSING = "not_georeferenced"  # why, in a map's provenance
_GAP_S, _GAPS = 3.0, 3.0  # poses are interpolated over so long, or over so many of their usual steps
_BY_ACCELERATIONS_DEG, _BY_CAMERAS_DEG = 1.0, 10.0  # how far up may be off
_OTHER_SCALE, _OTHER_SCALE_SIGMAS = 0.03, 4.0  # by fixes, of a map that is metric: worth a word
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Timed:
    """Poses of the keyframes of one recording, in order of time: map_from_camera."""

    stamps_ns: NDArray[np.int64]
    poses: Sequence[Pose]


def with_gps(reading: Reading, bag: Bag) -> Reading:
    """The reading with the fixes of its bag; what is wrong with them goes to the log."""
    gps = bag.gps
    if not isinstance(gps, GpsTrack):
        if gps:
            _log.warning("%s: %s: the map is made without GPS", bag.path, gps)
        return reading if not gps else replace(reading, summary={**reading.summary, "gps": str(gps)})
    if not gps.antenna_known:
        _log.warning(
            "%s: /tf does not tell where the antenna of %s is: it is taken to be at the camera", bag.path, gps.topic
        )
    return replace(reading, gps=gps, summary={**reading.summary, "gps": gps.in_words()})


def timed(owners: Sequence[int], stamps_ns: Sequence[int], poses: Sequence[Pose | None]) -> dict[int, Timed]:
    """Poses by recording. owners: the recording of each; without a pose, it does not count."""
    out = {}
    for recording in sorted(set(owners)):
        rows = [
            (int(stamp), pose)
            for owner, stamp, pose in zip(owners, stamps_ns, poses, strict=True)
            if owner == recording and pose is not None
        ]
        rows.sort(key=lambda row: row[0])
        fresh = [row for index, row in enumerate(rows) if index == 0 or row[0] > rows[index - 1][0]]
        out[recording] = Timed(np.array([row[0] for row in fresh], dtype=np.int64), [row[1] for row in fresh])
    return out


def believed_level(keyframes: Sequence[Keyframe], poses: Sequence[Pose | None]) -> Level:
    """Which way is up in the frame of poses that images alone gave: by accelerations, else as most cameras are held."""
    up = mean_up(poses, [keyframe.up_in_camera for keyframe in keyframes])
    if up is not None:
        return Level((float(up[0][0]), float(up[0][1]), float(up[0][2])), _BY_ACCELERATIONS_DEG)
    x, y, z = -np.mean([pose.rotation[:, 1] for pose in poses if pose is not None], axis=0)
    return Level((float(x), float(y), float(z)), _BY_CAMERAS_DEG)


def survey(
    drives: Mapping[int, Timed], tracks: Mapping[int, GpsTrack], level: Level, *, scaled: bool
) -> tuple[Geodetic, Surveyed]:
    """A datum amid the fixes, and the way to it from the frame of the poses.

    Raises DatasetError, naming the topic, where fixes do not tell it.
    """
    topics = ", ".join(dict.fromkeys(track.topic for track in tracks.values()))
    places = np.concatenate([track.places for track in tracks.values()])
    altitudes = places[np.isfinite(places[:, 2]), 2]
    datum = Geodetic(
        float(np.median(places[:, 0])),
        float(np.median(places[:, 1])),
        float(np.median(altitudes)) if len(altitudes) else 0.0,
    )
    parts = [_sightings(drives[own], tracks[own], datum) for own in tracks if own in drives]
    try:
        return datum, fit_earth(_joined(parts), level, scaled=scaled)
    except DatasetError as error:
        raise DatasetError(f"GPS of {topics}: {error}") from error


def _sightings(drive: Timed, track: GpsTrack, datum: Geodetic) -> Sightings:
    """Fixes taken between keyframes."""
    stamps = drive.stamps_ns
    after = np.searchsorted(stamps, track.stamps_ns, side="right")
    after = np.where(track.stamps_ns == (stamps[-1] if len(stamps) else 0), after - 1, after)
    usual = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    inside = (after > 0) & (after < len(stamps))
    rows = np.flatnonzero(inside)
    gaps = stamps[after[rows]] - stamps[after[rows] - 1]
    rows = rows[gaps <= max(_GAP_S * 1e9, _GAPS * usual)]
    if not len(rows):
        none = np.zeros((0, 3))
        return Sightings(none, none, none, np.zeros((0, 2)), np.zeros(0))
    seconds = (stamps - stamps[0]) / 1e9
    at = (track.stamps_ns[rows] - stamps[0]) / 1e9
    rotations = Rotation.from_matrix(np.array([pose.rotation for pose in drive.poses]))
    centres = np.array([pose.translation for pose in drive.poses])
    known = np.isfinite(track.places[rows, 2])
    places = np.where(np.isfinite(track.places[rows]), track.places[rows], datum.altitude_m)
    enu = enu_about(datum, places)
    enu[~known, 2] = np.nan
    return Sightings(
        np.stack([np.interp(at, seconds, axis) for axis in centres.T], axis=1),
        Slerp(seconds, rotations)(at).apply(track.antennas[rows]),
        enu,
        track.sigmas_m[rows],
        track.stamps_ns[rows] / 1e9,
    )


def _joined(parts: Sequence[Sightings]) -> Sightings:
    """Raises DatasetError for none at all."""
    if not any(len(part) for part in parts):
        raise DatasetError("no fix was taken while the camera's place is known: do the clocks agree?")
    return Sightings(
        np.concatenate([part.centres for part in parts]),
        np.concatenate([part.arms for part in parts]),
        np.concatenate([part.enu for part in parts]),
        np.concatenate([part.sigmas_m for part in parts]),
        np.concatenate([part.stamps_s for part in parts]),
    )


def georeferenced(landmark_map: LandmarkMap, owners: Sequence[int], tracks: Mapping[int, GpsTrack]) -> LandmarkMap:
    """The map with its place on Earth in the provenance, or why it has none; nothing else changes.

    owners: the recording of each keyframe. A scale that fixes contradict goes to the log.
    """
    if not tracks:
        return landmark_map
    poses = [landmark_map.map_from_camera(index) for index in range(landmark_map.keyframes)]
    drives = timed(owners, landmark_map.keyframe_stamps_ns.tolist(), poses)
    try:
        datum, found = survey(drives, tracks, Level(), scaled=False)
        _say_scale(drives, tracks)
    except DatasetError as error:
        _log.warning("the map is not georeferenced: %s", error)
        return replace(landmark_map, provenance={**landmark_map.provenance, MISSING: str(error)})
    provenance = {name: value for name, value in landmark_map.provenance.items() if name != MISSING}
    topics = ", ".join(dict.fromkeys(track.topic for track in tracks.values()))
    known = _referenced(datum, found, topics)
    return replace(landmark_map, provenance={**provenance, KEY: known.as_dict()})


def _say_scale(drives: Mapping[int, Timed], tracks: Mapping[int, GpsTrack]) -> None:
    """Log where fixes make the map larger or smaller than its poses do."""
    _, free = survey(drives, tracks, Level(), scaled=True)
    scale = free.enu_from_map.scale
    if abs(scale - 1) > max(_OTHER_SCALE, _OTHER_SCALE_SIGMAS * free.scale_sigma):
        _log.warning(
            "by GPS, distances are %.3f times what the map's poses say; `hfnet map align --transform '0 0 0 0 0 0 1' "
            "--factor %.4f` would follow it",
            scale,
            scale,
        )


def _referenced(datum: Geodetic, found: Surveyed, source: str) -> Georeference:
    """The same with the datum at the map's origin."""
    pose: Pose = found.enu_from_map.pose
    origin = geodetic_of(local_axes(datum).apply(pose.translation[None])[0])
    axes: Array = local_axes(origin).rotation.T @ local_axes(datum).rotation
    return Georeference(
        origin,
        axes @ pose.rotation,
        residual_m=round(found.residual_m, 4),
        fixes=found.used,
        outliers=found.used - found.agreeing,
        source=source,
    )
