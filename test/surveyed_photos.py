"""Photos from surveyed positions, as the multi-view data of Strecha et al., CVPR 2008, come."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from hfnet_core.geometry import Pose
from hfnet_core.recordings.image_folder import FolderFrame
from hfnet_core.types import Camera

__all__ = ["surveyed"]

SECOND_NS = 1_000_000_000


def surveyed(folder: Path) -> tuple[Camera, list[FolderFrame]]:
    """The calibration, in pixels of the photos, and the photos with their poses, metres."""
    frames = []
    for number, path in enumerate(sorted(folder.glob("*.camera"))):
        rows = [[float(value) for value in line.split()] for line in path.read_text().splitlines() if line.strip()]
        world_from_camera = Pose(np.array(rows[4:7]), np.array(rows[7]))
        frames.append(FolderFrame(path.with_suffix(""), (number + 1) * SECOND_NS, world_from_camera))
    (fx, _, cx), (_, fy, cy) = rows[0], rows[1]
    height, width = cv2.imread(str(frames[0].path)).shape[:2]
    full = Camera("PINHOLE", int(rows[8][0]), int(rows[8][1]), (fx, fy, cx, cy))
    return full.scaled(width, height), frames
