"""Walks with known depth, and how much of one view another sees."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hfnet_core.errors import DatasetError, first_line
from hfnet_core.extras import later
from hfnet_core.geometry import Array, Pose
from hfnet_core.images.pixels import to_gray
from hfnet_core.images.reading import read_image
from hfnet_core.recordings.tum import read_tum
from hfnet_core.synthetic import walk
from hfnet_core.synthetic.courtyard import courtyard
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.types import Float32

if TYPE_CHECKING:
    import pycolmap
else:
    pycolmap = later("pycolmap")

__all__ = [
    "DepthFrame",
    "DepthSequence",
    "Overlap",
    "Overlaps",
    "lift",
    "load_depth_sequence",
    "mutual_overlap",
    "overlaps",
    "render_courtyard",
    "turned",
]

_AGREEMENT = 0.1  # relative difference of depths up to which two views see the same surface
_GRID_PX = 16
_NEAR_M = 0.05


@dataclass(frozen=True, eq=False)
class DepthFrame:
    """A frame with known depth. depth_m: [H, W], 0 where unknown."""

    image: NDArray[Any]
    depth_m: Float32
    map_from_camera: Pose


@dataclass(frozen=True, eq=False)
class DepthSequence:
    """Frames with depth of one camera, split into a map pass and a query pass. camera: pycolmap's."""

    camera: Any
    map_frames: tuple[DepthFrame, ...]
    query_frames: tuple[DepthFrame, ...]


def load_depth_sequence(folder: Path, first_query: int) -> DepthSequence:
    """A folder with images/NNNNNN.jpg, depth/NNNNNN.png (millimetres), poses_tum.txt with a frame column, camera.json.

    Frames numbered from `first_query` on are queries. Raises DatasetError for what is missing.
    """
    try:
        calibration = json.loads((folder / "camera.json").read_text())
    except OSError as error:
        raise DatasetError(
            f"{error.filename}: missing; a depth sequence needs camera.json and poses_tum.txt"
        ) from error
    except ValueError as error:
        raise DatasetError(f"{folder / 'camera.json'}: is no JSON ({first_line(error)})") from error
    known = calibration if isinstance(calibration, dict) else {}
    lacks = [name for name in ("width", "height", "fx", "fy", "cx", "cy") if name not in known]
    if lacks:
        raise DatasetError(f"{folder / 'camera.json'}: lacks {', '.join(lacks)}")
    values = [calibration[name] for name in ("fx", "fy", "cx", "cy")]
    camera = pycolmap.Camera(model="PINHOLE", width=calibration["width"], height=calibration["height"], params=values)
    poses = {PurePosixPath(row.name).stem: row.pose for row in read_tum(folder / "poses_tum.txt")}
    if not any(poses):
        raise DatasetError(f"{folder / 'poses_tum.txt'}: names no images: the ninth column is to hold them")
    frames: dict[bool, list[DepthFrame]] = {False: [], True: []}
    for path in sorted((folder / "depth").glob("*.png")):
        if path.stem not in poses:
            continue
        depth = read_image(path).astype(np.float32)
        depth[depth >= 65535] = 0.0
        image = read_image(folder / "images" / f"{path.stem}.jpg")
        frames[int(path.stem) >= first_query].append(DepthFrame(image, depth / 1000.0, poses[path.stem]))
    if not frames[False] or not frames[True]:
        raise DatasetError(f"{folder}: needs frames with depth before and after frame {first_query}")
    return DepthSequence(camera, tuple(frames[False]), tuple(frames[True]))


def render_courtyard(every: int = 5) -> DepthSequence:
    """The rendered old town of `walk`: every n-th frame of both days, with exact depth; frames that show nothing are
    left out."""
    passes = []
    for day in (walk.MAP_PASS, walk.QUERY_PASS):
        renderer = Renderer(walk.CAMERA, courtyard(rearranged=day.rearranged))
        shots = (shot for shot in walk.shots(day, every=every) if not shot.blind)
        frames = (DepthFrame(to_gray(s.image), renderer.depth_m(s.map_from_camera), s.map_from_camera) for s in shots)
        passes.append(tuple(frames))
    size = {"width": walk.CAMERA.width, "height": walk.CAMERA.height}
    camera = pycolmap.Camera(model=walk.CAMERA.model, params=list(walk.CAMERA.params), **size)
    return DepthSequence(camera, *passes)


def turned(sequence: DepthSequence, angle_deg: float) -> DepthSequence:
    """The sequence as if every query had been taken with the camera turned about its optical axis, clockwise as the
    photographer sees it. What the photo does not show repeats its border, with unknown depth."""
    camera = sequence.camera
    query_from_turned = Rotation.from_euler("z", angle_deg, degrees=True).as_matrix()
    columns, rows = np.meshgrid(np.arange(camera.width, dtype=np.float64), np.arange(camera.height, dtype=np.float64))
    rays = np.asarray(camera.cam_from_img(np.column_stack([columns.ravel(), rows.ravel()])))
    points = np.column_stack([rays, np.ones(len(rays))]) @ query_from_turned.T
    source = np.asarray(camera.img_from_cam(points), dtype=np.float32).reshape(camera.height, camera.width, 2)

    def turn(frame: DepthFrame) -> DepthFrame:
        image = cv2.remap(frame.image, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        depth = cv2.remap(frame.depth_m, source, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        return DepthFrame(image, depth, frame.map_from_camera @ Pose(query_from_turned, np.zeros(3)))

    return replace(sequence, query_frames=tuple(turn(frame) for frame in sequence.query_frames))


class Overlap(NamedTuple):
    """Of two frames the smaller of the two shares of one's surface that the other sees.

    with_map: [Q, M], query and map frames; within_map: [M, M], map frames, 0 for a frame and itself.
    """

    with_map: Array
    within_map: Array


class Overlaps(NamedTuple):
    """Overlaps as three readings of what is unknown: a point is seen where it falls into the other image and the depth
    there agrees; where no depth is known there, it is left out of the share, counts as seen, or as not seen."""

    left_out: Overlap
    seen: Overlap
    unseen: Overlap


def overlaps(sequence: DepthSequence) -> Overlaps:
    """How much every query frame and every map frame see of each other and of map frames, by depth."""
    camera, count = sequence.camera, len(sequence.map_frames)
    readings = len(Overlaps._fields)
    with_map, within = np.zeros((readings, len(sequence.query_frames), count)), np.zeros((readings, count, count))
    for column, frame in enumerate(sequence.map_frames):
        for row, query in enumerate(sequence.query_frames):
            with_map[:, row, column] = mutual_overlap(query, frame, camera)
        for row, other in enumerate(sequence.map_frames[:column]):
            within[:, row, column] = within[:, column, row] = mutual_overlap(other, frame, camera)
    return Overlaps(*(Overlap(*tables) for tables in zip(with_map, within, strict=True)))


def mutual_overlap(first: DepthFrame, second: DepthFrame, camera: Any) -> Array:
    """[3]: the smaller of the two shares of one's surface that the other sees, in the readings of `Overlaps`."""
    return np.minimum(_seen(first, second, camera), _seen(second, first, camera))


def lift(pixels: Float32, frame: DepthFrame, camera: Any) -> tuple[Array, NDArray[np.bool_]]:
    """Map points [N, 3] behind pixels [N, 2], and for which of them depth is known."""
    column = np.clip(np.rint(pixels[:, 0]).astype(int), 0, frame.depth_m.shape[1] - 1)
    row = np.clip(np.rint(pixels[:, 1]).astype(int), 0, frame.depth_m.shape[0] - 1)
    depth = frame.depth_m[row, column].astype(np.float64)
    rays = np.column_stack([camera.cam_from_img(pixels.astype(np.float64)), np.ones(len(pixels))])
    return frame.map_from_camera.apply(rays * depth[:, None]), depth > 0


def _seen(source: DepthFrame, target: DepthFrame, camera: Any) -> tuple[float, float, float]:
    """Share of the source's surface, on a grid of pixels, that the target sees, in the readings of `Overlaps`."""
    height, width = source.depth_m.shape
    first = _GRID_PX // 2
    grid = np.stack(np.meshgrid(np.arange(first, width, _GRID_PX), np.arange(first, height, _GRID_PX)), axis=-1)
    points, known = lift(grid.reshape(-1, 2).astype(np.float32), source, camera)
    if not known.any():
        return 0.0, 0.0, 0.0
    points = target.map_from_camera.inverse().apply(points[known])
    points = points[points[:, 2] > _NEAR_M]
    pixels = np.asarray(camera.img_from_cam(points))  # NaN where the lens model ends
    inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1)
    column, row = np.rint(pixels[inside]).astype(int).T
    expected, there = points[inside, 2], target.depth_m[row, column]
    undecided = int((there <= 0).sum())
    agree = int((np.abs(there - expected) <= _AGREEMENT * expected).sum())  # never where depth is unknown, 0
    total = int(known.sum())
    return agree / max(total - undecided, 1), (agree + undecided) / total, agree / total
