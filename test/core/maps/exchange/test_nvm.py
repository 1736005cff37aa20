"""NVM models: conventions, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hfnet_core.errors import DatasetError, MapError
from hfnet_core.maintenance.nvm_import import posed_images_of_nvm
from hfnet_core.maps.colmap import camera_of
from hfnet_core.maps.exchange.nvm import nvm_camera, read_nvm
from hfnet_core.types import Camera

MODEL = """NVM_V3 FixedK 1 2

2
./db/a b.jpg\t700 0.7071067811865476 0 0.7071067811865476 0 1 2 3 -0.05 0
db/c.jpg 650.5 1 0 0 0 -1 0.5 0 0 0

2
1 2 10 255 0 0 2 0 7 -3.5 4 1 2 10.25 -20
0 0 5 1 1 1 1 1 9 1 2

0
# a second model, and what follows
"""
CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 319.5, 239.5))


@pytest.fixture
def nvm(tmp_path: Path) -> Path:
    path = tmp_path / "a.nvm"
    path.write_text(MODEL)
    return path


def test_a_model_is_read_with_its_conventions(nvm: Path) -> None:
    model = read_nvm(nvm)
    first, second = model.images
    assert (first.name, second.name) == ("db/a b.jpg", "db/c.jpg")
    np.testing.assert_allclose(first.camera_from_world.inverse().translation, (1, 2, 3), atol=1e-12)
    np.testing.assert_allclose(second.camera_from_world.translation, (1, -0.5, 0), atol=1e-12)
    # 90 degrees about y, camera from world: what lies along x in the world is at -z for the camera
    np.testing.assert_allclose(first.camera_from_world.rotation @ (1, 0, 0), (0, 0, -1), atol=1e-12)
    assert model.seen.tolist() == [[0, 0], [0, 1], [1, 1]]
    np.testing.assert_allclose(model.points_xyz, [[1, 2, 10], [0, 0, 5]])


def test_measurements_from_the_middle_and_from_the_corner_become_our_pixels(nvm: Path) -> None:
    middle = np.array([[319.5, 239.5], [319.5, 239.5]])
    centred = read_nvm(nvm)
    assert centred.is_centred
    np.testing.assert_allclose(centred.keypoints_px(middle)[0], (316.0, 243.5))
    nvm.write_text(MODEL.replace("-3.5", "3.5").replace("-20", "20"))
    cornered = read_nvm(nvm)
    assert not cornered.is_centred
    np.testing.assert_allclose(cornered.keypoints_px(middle)[0], (3.0, 3.5))


def test_a_camera_of_the_model_has_its_middle_and_the_distortion_of_the_other_sign(nvm: Path) -> None:
    camera = camera_of(nvm_camera(read_nvm(nvm).images[0], (640, 480)))
    assert (camera.model, camera.params) == ("SIMPLE_RADIAL", (700.0, 319.5, 239.5, 0.05))


def test_images_without_intrinsics_are_left_out(nvm: Path, caplog: pytest.LogCaptureFixture) -> None:
    posed = posed_images_of_nvm(nvm, {"db/c.png": CAMERA}, lambda name: name.replace(".jpg", ".png"))
    assert [image.name for image in posed.images] == ["db/c.png"]
    assert posed.seen.tolist() == [[0, 0], [1, 0]]
    assert "1 images have no intrinsics, db/a b.jpg first" in caplog.text
    with pytest.raises(MapError, match="none of its 2 images has known intrinsics"):
        posed_images_of_nvm(nvm, {})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("NVM_V3", "NVM_V2", "does not begin with NVM_V3"),
        ("\n2\n./db", "\n999999999\n./db", "is no number of images"),
        ("\n2\n1 2 10", "\n-2\n1 2 10", "is no number of points"),
        ("\n2\n1 2 10", "\n2000000000000\n1 2 10", "is no number of points"),
        ("255 0 0 2 0", "255 0 0 900000000 0", "columns do not hold 900000000"),
        ("4 1 2 10.25", "4 5 2 10.25", "image 5, which is not there"),
        ("./db/a b.jpg", "../../etc/a.jpg", "no name of an image below a folder"),
        ("\t700", "\tnan", "focal length"),
        ("0.7071067811865476 0 0.7", "5 0 0.7", "quaternion"),
        ("1 2 3 -0.05", "1 inf 3 -0.05", "position"),
        ("1 1 9 1 2", "1 1 9 1 inf", "not finite"),
        ("db/c.jpg", "db/a b.jpg", "two images have one name"),
        (MODEL[131:], "", "cut off"),
    ],
)
def test_a_damaged_model_is_one_line(nvm: Path, old: str, new: str, said: str) -> None:
    assert old in MODEL
    nvm.write_text(MODEL.replace(old, new, 1))
    with pytest.raises(DatasetError, match=said) as caught:
        read_nvm(nvm)
    assert str(nvm) in str(caught.value)
    assert "\n" not in str(caught.value)
