"""Two walks through the courtyard with a hand-held camera: one to map it, one to come back on another day.

`Path` is where the camera is at a time; `Pass` is a day: path, light, sensor; `record` renders a pass into a bag with
compressed images, camera_info and the exact pose. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath

import cv2
import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Array, Pose
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer
from hfnet_core.synthetic.courtyard import LAMPS, courtyard
from hfnet_core.synthetic.lighting import Lamp, Lighting, bake
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.synthetic.sensor import Exposer, Sensor, is_blind
from hfnet_core.synthetic.textures import Image
from hfnet_core.types import Camera

__all__ = ["CAMERA", "MAP_PASS", "QUERY_PASS", "Pass", "Path", "Shot", "look", "record", "shots"]

CAMERA = Camera("OPENCV", 640, 480, (478.0, 478.6, 322.4, 236.8, -0.06, 0.02, 0.0004, -0.0006))
_JPEG_QUALITY = 92


def look(position: Array, yaw_rad: float, pitch_rad: float = 0.0, roll_rad: float = 0.0) -> Pose:
    """world_from_camera of a camera (x right, y down, z forward) in a world with z up.

    yaw: heading, counter-clockwise from the x axis. pitch: upwards. roll: clockwise as the photographer sees it.
    """
    forward = np.array([np.cos(yaw_rad) * np.cos(pitch_rad), np.sin(yaw_rad) * np.cos(pitch_rad), np.sin(pitch_rad)])
    right = np.array([np.sin(yaw_rad), -np.cos(yaw_rad), 0.0])
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    return Pose(np.stack([c * right + s * down, c * down - s * right, forward], axis=1), position)


@dataclass(frozen=True)
class Path:
    """A walk through waypoints (x, y in metres, heading in degrees) at a walker's pace, with a walker's sway.

    speed_m_s limits the way, turn_deg_s the turns. pause_s: time spent at the first waypoint. height_m: of the eyes.
    """

    waypoints: tuple[tuple[float, float, float], ...]
    speed_m_s: float
    turn_deg_s: float
    height_m: float
    pause_s: float = 0.0
    phase: float = 0.0

    @cached_property
    def _splines(self) -> tuple[CubicSpline, PchipInterpolator]:
        points = np.array(self.waypoints)
        steps = np.diff(points, axis=0)
        took = np.maximum(np.hypot(steps[:, 0], steps[:, 1]) / self.speed_m_s, np.abs(steps[:, 2]) / self.turn_deg_s)
        times = self.pause_s + np.concatenate([[0.0], np.cumsum(took)])
        ends = ((1, np.zeros(2)), (1, np.zeros(2)))
        return CubicSpline(times, points[:, :2], bc_type=ends), PchipInterpolator(times, np.deg2rad(points[:, 2]))

    @property
    def duration_s(self) -> float:
        return float(self._splines[0].x[-1])

    def at(self, time_s: float) -> Pose:
        """map_from_camera. The camera stands before the pause ends and after the last waypoint."""
        way, heading = self._splines
        t = float(np.clip(time_s, way.x[0], way.x[-1]))
        x, y = way(t)
        pace = min(float(np.hypot(*way(t, 1))) / self.speed_m_s, 1.0)
        step = 2.0 * np.pi * 1.8 * time_s + self.phase
        side, yaw = 0.02 * pace * np.sin(step / 2), float(heading(t))
        height = self.height_m + 0.022 * pace * np.sin(step)
        position = np.array([x - side * np.sin(yaw), y + side * np.cos(yaw), height])
        yaw += np.deg2rad(1.6) * np.sin(2.1 * time_s + self.phase)
        pitch = np.deg2rad(-1.0 + 2.2 * np.sin(0.9 * time_s + self.phase) + 0.5 * pace * np.sin(step))
        return look(position, yaw, float(pitch), float(np.deg2rad(1.3) * np.sin(1.3 * time_s + 2 * self.phase)))


@dataclass(frozen=True)
class Pass:
    """One day: the path, the light, the camera's settings. covered_s: when something is held before the lens."""

    name: str
    path: Path
    lighting: Lighting
    sensor: Sensor
    rate_hz: float
    start_s: int
    rearranged: bool
    covered_s: tuple[tuple[float, float], ...] = ()
    seed: int = 0

    @property
    def stamps_s(self) -> Array:
        """Seconds since the start of every frame."""
        return np.arange(int(self.path.duration_s * self.rate_hz)) / self.rate_hz

    def stamp_ns(self, time_s: float) -> int:
        return self.start_s * 10**9 + round(time_s * 1e9)


MAP_PASS = Pass(
    name="map",
    path=Path(
        (
            (5.3, -5.3, 90),
            (5.3, -2.2, 92),
            (5.2, 0.8, 112),
            (4.3, 2.2, 132),
            (3.4, 3.8, 108),
            (3.6, 5.2, 74),
            (4.3, 6.4, 34),
            (5.8, 6.8, 6),
            (7.4, 6.6, -8),
            (8.9, 6.1, -42),
            (9.8, 4.9, -88),
            (9.2, 3.7, -142),
            (7.9, 2.9, -166),
            (6.5, 2.2, -190),
            (5.5, 1.6, -226),
            (5.3, 1.2, -262),
        ),
        speed_m_s=1.1,
        turn_deg_s=42.0,
        height_m=1.62,
    ),
    lighting=Lighting(
        (0.55, -0.6, 1.0),
        (1.9, 1.75, 1.5),
        (0.44, 0.48, 0.58),
        tuple(Lamp(place, (0.9, 0.7, 0.45)) for place in LAMPS[:2]),
    ),
    sensor=Sensor(0.008, 112.0, (1.0, 1.0, 1.0), 1.0, 1.2, 0.02),
    rate_hz=10.0,
    start_s=1_700_000_000,
    rearranged=False,
)

QUERY_PASS = Pass(
    name="query",
    path=Path(
        (
            (5.3, -5.75, -90),
            (5.25, -5.5, 90),
            (5.05, -3.0, 98),
            (5.6, -0.6, 78),
            (5.7, 1.1, 112),
            (4.2, 2.1, 142),
            (3.0, 3.9, 100),
            (3.8, 5.2, 58),
            (4.8, 6.0, 18),
            (6.2, 6.0, -4),
            (7.5, 6.3, -26),
            (9.0, 5.4, -62),
            (9.5, 4.4, -104),
            (8.5, 3.6, -152),
            (7.3, 2.2, -184),
            (6.1, 1.4, -206),
        ),
        speed_m_s=1.25,
        turn_deg_s=85.0,
        height_m=1.46,
        pause_s=0.8,
        phase=1.3,
    ),
    lighting=Lighting(
        (-0.8, -0.35, 0.7),
        (1.25, 0.84, 0.5),
        (0.34, 0.36, 0.45),
        tuple(Lamp(place, (1.7, 1.25, 0.7)) for place in LAMPS),
    ),
    sensor=Sensor(0.016, 92.0, (1.08, 0.99, 0.88), 1.12, 2.6, 0.06),
    rate_hz=15.0,
    start_s=1_700_090_000,
    rearranged=True,
    covered_s=((11.0, 11.6),),
    seed=1,
)


@dataclass(frozen=True, eq=False)
class Shot:
    """A rendered frame. time_s: since the start of the pass. blind: nothing in it could tell the place."""

    time_s: float
    image: Image = field(repr=False)
    map_from_camera: Pose
    blind: bool


def shots(day: Pass, camera: Camera = CAMERA, every: int = 1) -> Iterator[Shot]:
    """Render a pass frame by frame. every: keep each n-th frame (for tests and previews)."""
    renderer = Renderer(camera, bake(courtyard(rearranged=day.rearranged), day.lighting, day.seed))
    exposer = Exposer(day.sensor, camera, day.seed)
    for time_s in day.stamps_s[::every]:
        pose = day.path.at(time_s)
        rendered = renderer.render(pose)
        if any(begin <= time_s < end for begin, end in day.covered_s):
            rendered = (rendered * 0.02).astype(np.uint8)
        image = exposer.expose(rendered, _turn_rate(day.path, time_s))
        yield Shot(float(time_s), image, pose, is_blind(rendered))


def _turn_rate(path: Path, time_s: float) -> Array:
    """[3] radians per second about the camera's axes."""
    before, after = path.at(time_s - 0.005), path.at(time_s + 0.005)
    rate: Array = Rotation.from_matrix(before.rotation.T @ after.rotation).as_rotvec() / 0.01
    return rate


def record(
    day: Pass,
    output: FilePath,
    *,
    camera: Camera = CAMERA,
    every: int = 1,
    storage: str = "mcap",
    odometry: Sequence[Pose] | None = None,
    progress: Callable[[], object] = lambda: None,
) -> list[int]:
    """Render a pass into a bag: compressed images, camera_info, and the exact pose of the camera at every frame.

    Returns the stamps (ns) of blind frames, on which a localizer should say nothing. odometry: odom_from_camera at
    every frame that is recorded, on /odom. progress: called per frame.
    Raises ConfigError when `output` exists or cannot be created.
    """
    blind = []
    topics = WriterTopics(image="/camera/image", compressed="/camera/image/compressed")
    with open_writer(output, storage, topics) as writer:
        for index, shot in enumerate(shots(day, camera, every)):
            stamp_ns = day.stamp_ns(shot.time_s)
            if odometry is not None:
                writer.odometry(stamp_ns, odometry[index])
            done, data = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
            if not done:
                raise RuntimeError("OpenCV could not encode a rendered image as JPEG")
            writer.camera_info(stamp_ns, camera)
            writer.compressed(stamp_ns, data.tobytes(), "jpeg")
            writer.pose(stamp_ns, shot.map_from_camera)
            if shot.blind:
                blind.append(stamp_ns)
            progress()
    return blind
