"""Photos that EXIF says are to be turned: what is read, written and localized."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image
from wall import CAMERA, map_from_camera, view, wall_files

from hfnet_core.errors import DatasetError
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.geometry import pose_error
from hfnet_core.images.orientation import upright_jpeg
from hfnet_core.images.reading import read_image
from hfnet_core.recordings.bag_writer import write_folder_bag
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.options import BagOptions
from hfnet_core.types import Camera, Localized

CLOCKWISE = 6  # EXIF: turn the stored pixels by 90 degrees clockwise


def photo(stored: np.ndarray, orientation: int = CLOCKWISE, order: str = "little") -> bytes:
    """A JPEG of these pixels with an EXIF segment that tells the orientation, and a note after it."""

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, "little" if order == "little" else "big")

    entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + bytes(2)
    tiff = (b"II" if order == "little" else b"MM") + number(42, 2) + number(8, 4) + number(1, 2) + entry + bytes(4)
    exif = b"Exif\0\0" + tiff + b"a note"
    jpeg = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def stored_pixels(encoded: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    assert found is not None
    return np.asarray(found)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(("orientation", "turn"), [(6, cv2.ROTATE_90_CLOCKWISE), (3, cv2.ROTATE_180)])
def test_pixels_are_turned_once_and_the_rest_of_exif_stays(order: str, orientation: int, turn: int) -> None:
    stored = textured_image(160, 120)
    encoded = photo(stored, orientation, order)
    upright = upright_jpeg(encoded)
    assert difference(stored_pixels(upright), cv2.rotate(stored, turn)) < 4
    assert b"a note" in upright
    assert upright_jpeg(upright) == upright


def test_what_is_upright_or_no_photo_is_left_alone() -> None:
    image = textured_image(160, 120)
    for encoded in (photo(image, 1), cv2.imencode(".jpg", image)[1].tobytes(), cv2.imencode(".png", image)[1].tobytes(),
                    photo(image)[:90], b""):  # fmt: skip
        assert upright_jpeg(encoded) == encoded


def test_a_calibration_tells_by_its_size_what_it_belongs_to(tmp_path: Path) -> None:
    stored = textured_image(160, 120)
    encoded = photo(stored)
    assert upright_jpeg(encoded, (160, 120)) == encoded
    assert stored_pixels(upright_jpeg(encoded, (120, 160))).shape == (160, 120)
    assert upright_jpeg(encoded, (320, 240)) == encoded
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded)
    assert read_image(path).shape == read_image(path, (120, 160)).shape == read_image(path, (9, 9)).shape == (160, 120)
    assert difference(read_image(path, (160, 120)), stored) < 4


def bag_of(folder: Path, camera: Camera | None, poses: Path | None = None) -> tuple[int, ...]:
    """Shape of the first image of the bag that the folder becomes."""
    bag = folder / "bag"
    write_folder_bag(list_folder(folder, poses, rate_hz=1.0), camera, bag, storage="mcap", overwrite=True)
    with Bag(bag, BagOptions(camera_optional=True)) as opened:
        return next(iter(opened.frames())).image.shape


def test_a_folder_of_photos_becomes_a_bag_of_upright_images(tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed: pip install 'hfnet_ros[bags]'")
    (tmp_path / "1.jpg").write_bytes(photo(textured_image(160, 120)))
    poses = tmp_path / "poses.txt"
    poses.write_text("1.0 0 0 0 0 0 0 1 1\n")
    assert bag_of(tmp_path, None) == (160, 120)
    assert bag_of(tmp_path, Camera("PINHOLE", 120, 160, (100.0, 100.0, 60.0, 80.0)), poses) == (160, 120)
    assert bag_of(tmp_path, Camera("PINHOLE", 160, 120, (100.0, 100.0, 80.0, 60.0))) == (120, 160)
    assert bag_of(tmp_path, None, poses) == (120, 160)  # the pose is of the camera as it was held


def test_localized_upright_or_as_the_calibration_says(tmp_path: Path) -> None:
    model, map_file = wall_files(tmp_path)
    sideways = cv2.rotate(view(40), cv2.ROTATE_90_COUNTERCLOCKWISE)
    (tmp_path / "sideways.jpg").write_bytes(photo(sideways))
    (tmp_path / "stored.jpg").write_bytes(photo(view(40)))
    localizer = OfflineLocalizer(map_file, model)
    for name in ("sideways.jpg", "stored.jpg"):  # the map's camera fits the first upright, the second as it is stored
        (answer,) = localizer.images(tmp_path / name)
        assert isinstance(answer.result, Localized)
        assert pose_error(answer.result.map_from_camera, map_from_camera(40))[0] < 0.05
    (listed,) = localizer.listed(tmp_path, [("stored.jpg", CAMERA)])
    assert isinstance(listed.result, Localized)
    (tmp_path / "small.jpg").write_bytes(photo(textured_image(96, 64)))
    with pytest.raises(DatasetError, match="64x96"):
        list(localizer.images(tmp_path / "small.jpg"))
