"""Real photos without poses: surveyed cameras of known calibration, and tourists' photos of unknown cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evo.core.geometry import umeyama_alignment
from helpers import shared_data
from surveyed_photos import surveyed

from hfnet_core.config import ExtractorConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.types import Camera


def map_of(folder: Path, camera: Camera | None, bag: Path) -> LandmarkMap:
    """A map of a folder of images, up to scale."""
    write_folder_bag(list_folder(folder, None, rate_hz=1.0), camera, bag, storage="mcap")
    config = MapBuildConfig(scale_free=True)
    extractor = Extractor(open_backend(None), ExtractorConfig(max_keypoints=config.max_keypoints))
    return build_map([bag], extractor, config)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["fountain-P11", "entry-P10"])
def test_surveyed_cameras_are_found(name: str, tmp_path: Path) -> None:
    folder = shared_data("data", "strecha", name)
    camera, frames = surveyed(folder)
    truth = np.array([frame.map_from_camera.translation for frame in frames if frame.map_from_camera])
    made = map_of(folder, camera, tmp_path / "bag")
    assert made.keyframes == len(truth)
    centres = made.keyframe_poses[:, :, 3]
    rotation, translation, scale = umeyama_alignment(centres.T, truth.T, with_scale=True)
    errors = np.linalg.norm(scale * centres @ rotation.T + translation - truth, axis=1)
    assert errors.max() < 0.01 * np.linalg.norm(np.ptp(truth, axis=0))
    assert made.provenance["statistics"]["reprojection_rmse_px"] < 1.0
    assert made.provenance["pose_mode"] == "images"
    assert made.provenance["scale"]["source"] == "arbitrary"


@pytest.mark.timeout(600)
def test_photos_of_unknown_cameras_are_put_together(tmp_path: Path) -> None:
    made = map_of(shared_data("data", "sacre_coeur"), None, tmp_path / "bag")
    assert made.keyframes >= 8
    assert made.landmarks > 300
    assert made.provenance["statistics"]["reprojection_rmse_px"] < 1.0
    assert len(made.cameras) == made.keyframes
