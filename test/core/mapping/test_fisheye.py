"""A wide fisheye in a rendered place: what it sees near the edge of its image counts as what it sees in the middle."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.mapping.builder import build_map
from hfnet_core.projection import rays_of
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.synthetic.courtyard import courtyard
from hfnet_core.synthetic.lighting import bake
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.synthetic.walk import MAP_PASS
from hfnet_core.types import Camera, Localized

# the lens of a RealSense T265 at three quarters of its size: 163 degrees from side to side
FISHEYE = Camera("OPENCV_FISHEYE", 636, 600, (214.5, 214.5, 316.5, 297.0, -0.006, 0.04, -0.04, 0.006))
FACE = Camera("PINHOLE", 400, 400, (199.0, 199.0, 199.5, 199.5))  # a little more than 90 degrees
TURNS = [Rotation.identity(), *(Rotation.from_euler(axis, side, degrees=True) for axis in "xy" for side in (-90, 90))]
MAPPED_S, ASKED_S = np.arange(0.5, 4.6, 0.4), (1.7, 3.3)
EDGE_DEG = 65.0  # off the axis


class FisheyeRenderer:
    """Five pictures of a pinhole camera, one in each direction, laid together as the fisheye sees them."""

    def __init__(self) -> None:
        self.pinhole = Renderer(FACE, bake(courtyard(rearranged=False), MAP_PASS.lighting, 0), oversampling=1)
        columns, rows = np.meshgrid(np.arange(FISHEYE.width), np.arange(FISHEYE.height))
        rays = rays_of(FISHEYE, np.stack([columns, rows], axis=-1).reshape(-1, 2))
        self.where = []
        seen_by = np.nanargmax([turn.inv().apply(np.nan_to_num(rays))[:, 2] for turn in TURNS], axis=0)
        for number, turn in enumerate(TURNS):
            x, y, z = turn.inv().apply(rays).T
            own = (seen_by == number) & np.isfinite(z) & (z > 0)
            at = np.full((2, len(rays)), -1.0)
            at[:, own] = 199.0 * np.stack([x[own], y[own]]) / z[own] + 199.5
            self.where.append(at.reshape(2, FISHEYE.height, FISHEYE.width).astype(np.float32))

    def render(self, map_from_camera: Pose) -> np.ndarray:
        out = np.zeros((FISHEYE.height, FISHEYE.width, 3), np.uint8)
        for turn, (x, y) in zip(TURNS, self.where, strict=True):
            face = self.pinhole.render(map_from_camera @ Pose(turn.as_matrix()))
            out += cv2.remap(face, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) * (x >= 0)[..., None]
        return out


def angles_deg(keypoints_px: np.ndarray) -> np.ndarray:
    """[N] off the optical axis."""
    return np.degrees(np.arccos(rays_of(FISHEYE, keypoints_px)[:, 2]))


@pytest.mark.timeout(900)  # it renders and maps
def test_landmarks_near_the_edge_of_a_wide_fisheye_count(tmp_path: Path) -> None:
    renderer, recording = FisheyeRenderer(), tmp_path / "drive"
    with open_writer(recording, "mcap") as writer:
        for time_s in MAPPED_S:
            stamp_ns, pose = round(time_s * 1e9), MAP_PASS.path.at(time_s)
            writer.camera_info(stamp_ns, FISHEYE)
            writer.image(stamp_ns, cv2.cvtColor(renderer.render(pose), cv2.COLOR_RGB2GRAY))
            writer.pose(stamp_ns, pose)
    config = MapBuildConfig()
    extractor = Extractor(open_backend(None, "onnxruntime"), config.extraction)
    landmark_map = build_map([recording], extractor, config)
    localizer = Localizer(landmark_map)
    agreed = disagreed = 0
    for time_s in ASKED_S:
        aside = Pose(Rotation.from_euler("y", 8, degrees=True).as_matrix(), np.array([0.1, 0.0, 0.05]))
        truth = MAP_PASS.path.at(time_s) @ aside
        answer = localizer.localize([View(extractor.extract(renderer.render(truth)), FISHEYE)])
        assert isinstance(answer, Localized), answer
        metres, degrees = pose_error(answer.map_from_camera, truth)
        assert metres < 0.03
        assert degrees < 0.3
        assert angles_deg(answer.keypoints_px).max() > 75
        agreed += int((angles_deg(answer.keypoints_px) > EDGE_DEG).sum())
        disagreed += int((angles_deg(answer.unused_px) > EDGE_DEG).sum())
    assert agreed >= 40
    assert agreed >= 3 * disagreed
