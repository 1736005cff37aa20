"""Real images: a right calibration is not doubted, a wrong one is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import shared_data

pytest.importorskip("pycolmap", reason="pycolmap is not installed: pip install 'hfnet_ros[mapping]'")

from hfnet_core.evaluation.bag import map_from_bag
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.recordings.options import BagOptions


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A map of a recording of a kitchen, and images of another round through it."""
    folder = tmp_path_factory.mktemp("kitchen")
    map_from_bag(shared_data("data", "bags", "redkitchen40_mcap"), folder / "map.hfmap")
    (folder / "images").mkdir()
    every = sorted(shared_data("data", "redkitchen", "images").glob("*.jpg"))[::12]
    for image in every:
        (folder / "images" / image.name).symlink_to(image)
    return folder / "map.hfmap", folder / "images"


@pytest.mark.parametrize(
    ("focal_px", "said"), [(None, None), (790.0, "shorter than given"), (262.0, "longer than given")]
)
def test_a_kitchen_tells_a_wrong_calibration_from_a_right_one(
    kitchen: tuple[Path, Path], tmp_path: Path, focal_px: float | None, said: str | None
) -> None:
    map_file, images = kitchen
    calibration = None
    if focal_px is not None:
        calibration = tmp_path / "camera.json"
        numbers = {
            "model": "PINHOLE",
            "width": 640,
            "height": 480,
            "fx": focal_px,
            "fy": focal_px,
            "cx": 320,
            "cy": 240,
        }
        calibration.write_text(json.dumps(numbers))
    localizer = OfflineLocalizer(map_file)
    answers = list(localizer.images(images, calibration, BagOptions(trust_calibration=True)))
    assert len(answers) > 30
    warning = localizer.calibration.conclude()
    if said is None:
        assert warning is None
    else:
        assert said in (warning or "")
