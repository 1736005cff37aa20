"""Recordings of a wall as odd systems make them, by drawing what is in them, in which order, and what is wrong with it.

A case is a value; `write` makes the recording of it. What lies between map and camera is right unless a defect says
otherwise, so a build gives right poses, or says in a line what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bags import fix, odometry, transform
from hypothesis import strategies as st
from rosbags.typesys import get_types_from_msg
from wall import CAMERA, map_from_camera, view

from hfnet_core.geometry import Pose
from hfnet_core.georeference.earth import Geodetic, geodetic_of, local_axes
from hfnet_core.recordings.bag_writer import STORAGES, BagWriter, open_writer

DATUM = Geodetic(48.0, 11.0, 500.0)  # of the fixes: the truth's frame is east, north, up
START, STEP = 1_700_000_000 * 10**9, 10**8
SHIFTS = (0, 32, 64, 96, 128, 160)
MOUNT = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.2, 0.0, 0.4]))
SOURCES = ("pose", "odometry in map", "odometry of base", "tf", "tf of base", "tf in a namespace", "tum", "nothing")
DEFECTS = (
    "tag with two parents", "base with two parents", "loop elsewhere", "nan in tf_static", "zero quaternion in tf",
    "frame without a name in tf", "null pose", "nan pose", "another robot's tree", "a second odometry", "one goal pose",
    "slashes", "images without a frame", "images in a frame of their own", "no tf_static", "mount sent once",
    "depth beside", "another camera", "damaged image", "empty image", "cut", "no metadata", "empty metadata",
    "calibration in another frame", "calibration of zeros first", "calibration last", "no calibration",
    "calibration of another size", "stamps of zero", "equal stamps", "late tf", "topic of two types", "an imu of nan",
    "gps", "gps of zeros", "two gps", "gps far off",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One recording. seed: of the order in which messages of the same time were recorded."""

    storage: str
    source: str
    defects: tuple[str, ...]
    raw: bool
    seed: int

    def has(self, defect: str) -> bool:
        return defect in self.defects


cases = st.builds(
    Case,
    storage=st.sampled_from(STORAGES),
    source=st.sampled_from(SOURCES),
    defects=st.lists(st.sampled_from(DEFECTS), max_size=4, unique=True).map(tuple),
    raw=st.booleans(),
    seed=st.integers(0, 2**16),
)

Event = tuple[int, Callable[[BagWriter], None]]


def write(case: Case, folder: Path) -> Path:
    """The recording of a case."""
    path = folder / ("drive.bag" if case.storage == "rosbag1" else "drive")
    events = [*_camera(case), *_poses(case), *_trouble(case)]
    np.random.default_rng(case.seed).shuffle(events)  # type: ignore[arg-type]
    events.sort(key=lambda event: event[0])
    with open_writer(path, case.storage, overwrite=True) as writer:
        if "tf2_msgs/msg/TFMessage" not in writer._store.fielddefs:  # rosbags' types of ROS 1 lack it
            transforms = "geometry_msgs/TransformStamped[] transforms"
            writer._store.register(get_types_from_msg(transforms, "tf2_msgs/msg/TFMessage"))
        for _, send in events:
            send(writer)
    _damage(case, path)
    return path


def tum_file(folder: Path) -> Path:
    """The truth, as a TUM file."""
    lines = []
    for index, shift in enumerate(SHIFTS):
        pose = map_from_camera(shift)
        numbers = " ".join(f"{value:.9f}" for value in (*pose.translation, *pose.quat_xyzw()))
        lines.append(f"{(START + index * STEP) / 1e9:.9f} {numbers}\n")
    (folder / "truth.txt").write_text("".join(lines))
    return folder / "truth.txt"


def _frame(case: Case) -> str:
    if case.has("images without a frame"):
        return ""
    name = "some_camera" if case.has("images in a frame of their own") else "camera"
    return f"/{name}" if case.has("slashes") else name


def _camera(case: Case) -> list[Event]:
    out: list[Event] = []
    for index, shift in enumerate(SHIFTS):
        stamp = START + index * STEP
        out.append((stamp, lambda writer, stamp=stamp, index=index, shift=shift: _image(  # type: ignore[misc]
            case, writer, stamp, index, shift)))  # fmt: skip
        if not case.has("no calibration"):
            when = START + len(SHIFTS) * STEP if case.has("calibration last") else stamp
            out.append((when, lambda writer, when=when, index=index: _info(case, writer, when, index)))  # type: ignore[misc]
    return out


def _image(case: Case, writer: BagWriter, recorded: int, index: int, shift: int) -> None:
    stamp = 0 if case.has("stamps of zero") else recorded
    if case.has("equal stamps") and index == 3:
        stamp = START + 2 * STEP
    header, image = writer.header(stamp, _frame(case)), view(shift)
    damaged, empty = case.has("damaged image") and index == 4, case.has("empty image") and index == 2
    if case.raw:
        data = image.reshape(-1)[: 500 if damaged else 0 if empty else None]
        _put(writer, "/camera/image_raw", "sensor_msgs/msg/Image", recorded, header=header, height=CAMERA.height,
             width=CAMERA.width, encoding="mono8", is_bigendian=0, step=CAMERA.width, data=data)  # fmt: skip
    else:
        encoded = np.frombuffer(cv2.imencode(".png", image)[1].tobytes(), np.uint8)
        data = encoded[: 200 if damaged else 0 if empty else None]
        _put(writer, "/camera/image_raw/compressed", "sensor_msgs/msg/CompressedImage", recorded, header=header,
             format="png", data=data)  # fmt: skip


def _info(case: Case, writer: BagWriter, recorded: int, index: int) -> None:
    fx, fy, cx, cy = CAMERA.params
    if case.has("calibration of zeros first") and index == 0:
        fx = fy = cx = cy = 0.0
    width, height = CAMERA.width, CAMERA.height
    if case.has("calibration of another size"):
        width, height = 2 * width, 2 * height
    frame = "elsewhere" if case.has("calibration in another frame") else _frame(case)
    names = ("D", "K", "R", "P") if case.storage == "rosbag1" else ("d", "k", "r", "p")
    one = float(fx > 0)
    values = (np.zeros(5), np.array([fx, 0, cx, 0, fy, cy, 0, 0, one]), np.eye(3).reshape(-1),
              np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, one, 0]))  # fmt: skip
    roi = writer.type("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    _put(writer, "/camera/camera_info", "sensor_msgs/msg/CameraInfo", recorded, header=writer.header(recorded, frame),
         width=width, height=height, distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi,
         **dict(zip(names, values, strict=True)))  # fmt: skip


def _put(writer: BagWriter, topic: str, kind: str, recorded: int, **fields: Any) -> None:
    writer.write(topic, kind, recorded, **fields)


def _poses(case: Case) -> list[Event]:
    out: list[Event] = []
    for index, shift in enumerate(SHIFTS):
        stamp, pose = START + index * STEP, map_from_camera(shift)
        out.append((stamp, lambda writer, stamp=stamp, pose=pose, index=index: _pose(  # type: ignore[misc]
            case, writer, stamp, pose, index)))  # fmt: skip
    if case.source in ("odometry of base", "tf of base") and not case.has("no tf_static"):
        topic = "/tf" if case.has("mount sent once") else "/tf_static"
        out.append((START, lambda writer: tf(case, writer, topic, START, "base_link", "camera", MOUNT)))
    return out


def _pose(case: Case, writer: BagWriter, stamp: int, pose: Pose, index: int) -> None:
    base = pose @ MOUNT.inverse()
    late = stamp + 3 * STEP if case.has("late tf") else stamp
    if case.source == "pose":
        broken = (case.has("null pose") and index == 1) or (case.has("nan pose") and index == 3)
        stamped(writer, "/slam/pose", stamp, pose, (0.0 if index == 1 else float("nan")) if broken else None)
    elif case.source == "odometry in map":
        odometry(writer, "/odometry/global", stamp, "map", "camera", pose)
    elif case.source == "odometry of base":
        odometry(writer, "/odometry/global", stamp, "map", "base_link", base)
    elif case.source == "tf":
        tf(case, writer, "/tf", stamp, "map", "camera", pose, late)
    elif case.source == "tf of base":
        tf(case, writer, "/tf", stamp, "map", "base_link", base, late)
    elif case.source == "tf in a namespace":
        tf(case, writer, "/robot1/tf", stamp, "map", "camera", pose, late)


def stamped(writer: BagWriter, topic: str, stamp: int, pose: Pose, broken: float | None = None) -> None:
    """Write a PoseStamped, or one in which every number is `broken`."""
    kind = writer.type
    numbers = [float(value) for value in (*pose.translation, *pose.quat_xyzw())]
    x, y, z, qx, qy, qz, qw = numbers if broken is None else [broken] * 7
    inner = kind("geometry_msgs/msg/Pose")(
        position=kind("geometry_msgs/msg/Point")(x=x, y=y, z=z),
        orientation=kind("geometry_msgs/msg/Quaternion")(x=qx, y=qy, z=qz, w=qw),
    )
    header = writer.header(stamp, "map")
    _put(writer, topic, "geometry_msgs/msg/PoseStamped", stamp, header=header, pose=inner)


def tf(
    case: Case, writer: BagWriter, topic: str, stamp: int, parent: str, child: str, pose: Pose,
    recorded: int | None = None, w: float | None = None,
) -> None:  # fmt: skip
    """Write a transform. w: all there is of its quaternion."""
    slash = "/" if case.has("slashes") else ""
    item = transform(writer, f"{slash}{parent}", f"{slash}{child}" if child else "", stamp, pose)
    if w is not None:
        item.transform.rotation = writer.type("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=w)
    _put(writer, topic, "tf2_msgs/msg/TFMessage", stamp if recorded is None else recorded, transforms=[item])


def _trouble(case: Case) -> list[Event]:
    out: list[Event] = []
    elsewhere = Pose(translation=np.array([7.0, 0.0, 0.0]))
    for index, shift in enumerate(SHIFTS):
        stamp, pose = START + index * STEP, map_from_camera(shift)
        for defect, send in (
            ("tag with two parents", lambda w, s=stamp, i=index: tf(case, w, "/tf", s, f"cam{i % 2}", "tag", Pose())),
            ("base with two parents", lambda w, s=stamp: [
                tf(case, w, "/tf", s, parent, "base_link", Pose()) for parent in ("footprint", "wheels")]),
            ("zero quaternion in tf", lambda w, s=stamp: tf(case, w, "/tf", s, "base_link", "wheel", Pose(), w=0.0)),
            ("frame without a name in tf", lambda w, s=stamp: tf(case, w, "/tf", s, "base_link", "", Pose())),
            ("another robot's tree", lambda w, s=stamp, p=pose: tf(
                case, w, "/robot2/tf", s, "map", "camera", elsewhere @ p)),
            ("a second odometry", lambda w, s=stamp, p=pose: odometry(
                w, "/wheels/odom", s, "odom", "base_link", elsewhere @ p)),
            ("depth beside", lambda w, s=stamp: _depth(w, s)),
            ("gps", lambda w, s=stamp, p=pose: _gps(w, "/fix", s, p)),
            ("two gps", lambda w, s=stamp, p=pose: [_gps(w, name, s, p) for name in ("/fix", "/raw/fix")]),
            ("gps of zeros", lambda w, s=stamp, i=index: fix(
                w, "/fix", s, (0.0, 0.0, 0.0) if i % 2 else (np.nan, np.nan, np.nan), status=-(i % 2))),
            ("gps far off", lambda w, s=stamp, p=pose, i=index: _gps(w, "/fix", s, p if i else elsewhere @ p)),
            ("another camera", lambda w, s=stamp, p=shift: _other_camera(w, s, p)),
        ):  # fmt: skip
            if case.has(defect):
                out.append((stamp, send))
    once = {
        "loop elsewhere": lambda w: [tf(case, w, "/tf", START, a, b, Pose()) for a, b in ("xy", "yz", "zx", "xx")],
        "nan in tf_static": lambda w: tf(
            case, w, "/tf_static", START, "imu_link", "gyro", Pose(translation=np.full(3, np.nan))),
        "one goal pose": lambda w: stamped(w, "/goal", START, elsewhere),
    }  # fmt: skip
    out += [(START, send) for defect, send in once.items() if case.has(defect)]
    return out


def _gps(writer: BagWriter, topic: str, stamp: int, pose: Pose) -> None:
    """A fix of a centimetre; the map's axes are east, north, up."""
    place = geodetic_of(local_axes(DATUM).apply(pose.translation[None])[0])
    fix(writer, topic, stamp, (place.latitude_deg, place.longitude_deg, place.altitude_m), 0.01)


def _depth(writer: BagWriter, stamp: int) -> None:
    _put(writer, "/camera/depth/image_raw", "sensor_msgs/msg/Image", stamp, header=writer.header(stamp, "camera"),
         height=8, width=8, encoding="16UC1", is_bigendian=0, step=16, data=np.zeros(128, np.uint8))  # fmt: skip


def _other_camera(writer: BagWriter, stamp: int, shift: int) -> None:
    image = view(shift)[::-1].reshape(-1)
    height, width = CAMERA.height, CAMERA.width
    _put(writer, "/rear/image_raw", "sensor_msgs/msg/Image", stamp, header=writer.header(stamp, "rear"),
         height=height, width=width, encoding="mono8", is_bigendian=0, step=width, data=image)  # fmt: skip


def _damage(case: Case, path: Path) -> None:
    """What happens to the finished recording."""
    files = [path] if path.is_file() else [item for item in path.iterdir() if item.suffix in (".mcap", ".db3")]
    if case.has("cut"):
        content = files[0].read_bytes()
        files[0].write_bytes(content[: len(content) * 3 // 4])
    if path.is_dir() and case.has("no metadata"):
        (path / "metadata.yaml").unlink()
    elif path.is_dir() and case.has("empty metadata"):
        (path / "metadata.yaml").write_text("")
