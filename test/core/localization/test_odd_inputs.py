"""Whatever comes in: a reason or a named error, never an exception from below, never a pose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import wall
from scene import CAMERA, GLOBAL_DIM, LOCAL_DIM, Scene, looking, walk

from hfnet_core.config import ExtractorConfig, LocalizerConfig
from hfnet_core.errors import ConfigError, DatasetError, HFNetError, MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import MAX_PIXELS, Extractor
from hfnet_core.geometry import Pose
from hfnet_core.images.reading import read_image
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.maps.storage import load_map
from hfnet_core.types import Camera, Localized, NotLocalized, Reason

NOISE = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
IMAGES = {
    "black": np.zeros((240, 320), np.uint8),
    "white": np.full((240, 320, 3), 255, np.uint8),
    "constant": np.full((240, 320), 128.0, np.float32),
    "noise": NOISE,
    "stripes": np.tile(np.arange(320, dtype=np.uint8) % 8 * 32, (240, 1)),
    "one pixel": np.zeros((1, 1), np.uint8),
    "8x8": NOISE[:8, :8],
    "smallest": NOISE[:16, :16],
    "one row": NOISE[:1],
    "strip": np.tile(NOISE, (1, 10))[:16],
    "huge": np.broadcast_to(np.uint8(7), (6000, 8000)),
    "nothing": np.zeros((0, 320), np.uint8),
    "nan": np.full((240, 320), np.nan, np.float32),
    "one nan": np.where(np.arange(320) == 5, np.nan, NOISE.astype(np.float32)),
    "inf": np.full((240, 320), np.inf),
    "negative": NOISE.astype(np.float32) - 100,
    "0..1": NOISE.astype(np.float32) / 255,
    "int64": NOISE.astype(np.int64),
    "bool": NOISE > 128,
    "complex": NOISE.astype(np.complex64),
    "objects": NOISE.astype(object),
    "text": np.full((240, 320), "x"),
    "two channels": np.zeros((240, 320, 2), np.uint8),
    "a film": np.zeros((2, 240, 320, 3), np.uint8),
    "flat": NOISE.reshape(-1),
}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> tuple[Extractor, Localizer]:
    model, map_file = wall.wall_files(tmp_path_factory.mktemp("odd"))
    return Extractor(open_backend(model, threads=1), ExtractorConfig(max_keypoints=600)), Localizer(load_map(map_file))


def camera_of(image: np.ndarray) -> Camera:
    height, width = np.shape(image)[:2]
    return Camera("PINHOLE", width, height, (260.0, 260.0, width / 2, height / 2))


def test_the_wall_itself_is_found(road: tuple[Extractor, Localizer]) -> None:
    """The tests below prove something only if this road leads somewhere."""
    extractor, localizer = road
    assert isinstance(localizer.localize([View(extractor.extract(wall.view(48)), wall.CAMERA)]), Localized)


@pytest.mark.parametrize("name", IMAGES)
def test_no_image_breaks_the_road(road: tuple[Extractor, Localizer], name: str) -> None:
    extractor, localizer = road
    image, tracker = IMAGES[name], Tracker(localizer)
    tracker.process([View(extractor.extract(wall.view(32)), wall.CAMERA)], 0.0)
    try:
        features = extractor.extract(image)
    except HFNetError as error:
        assert isinstance(error, DatasetError)
        assert "\n" not in str(error)
        return
    camera = camera_of(image)
    for result in (
        localizer.localize([View(features, camera)]),
        localizer.localize([View(features, camera)], wall.map_from_camera(32)),
        tracker.process([View(features, camera)], 0.1),
    ):
        assert isinstance(result, NotLocalized)
        assert isinstance(result.reason, Reason)


def test_a_large_image_is_reduced_where_the_user_says_so(road: tuple[Extractor, Localizer]) -> None:
    extractor = Extractor(road[0].backend, ExtractorConfig(max_side_px=640))
    features = extractor.extract(np.zeros((5000, 4000), np.uint8))
    assert features.width * features.height > MAX_PIXELS


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0 torn", b"\x89PNG\r\n\x1a\n"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"photo\.jpg"):
        read_image(path)


def test_an_image_that_is_gray_below_gives_no_wrong_pose(road: tuple[Extractor, Localizer]) -> None:
    """As some versions of OpenCV read a torn JPEG; what is there may still be enough, but then it is right."""
    extractor, localizer = road
    found = []
    for share in (0.3, 0.6, 0.9):
        image = wall.view(32)
        image[int(share * len(image)) :] = 128
        result = localizer.localize([View(extractor.extract(image), wall.CAMERA)])
        if isinstance(result, Localized):
            found.append(share)
            assert np.linalg.norm(result.map_from_camera.translation - wall.map_from_camera(32).translation) < 0.1
    assert 0.9 in found


@pytest.fixture(scope="module")
def room() -> tuple[Scene, Localizer]:
    scene = Scene.make()
    return scene, Localizer(scene.build_map(walk()))


QUERY = looking(0.3, 0.9, 155.0)
NAN_POSE = Pose(QUERY.rotation, np.array([np.nan, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"width": 320}, ConfigError, "320x480"),
        ({"descriptors": np.zeros((5, LOCAL_DIM), np.float32)}, ConfigError, "not of one image"),
        ({"global_descriptor": np.full(GLOBAL_DIM, np.nan, np.float32)}, ConfigError, "finite"),
        ({"global_descriptor": np.zeros(3, np.float32)}, MapError, "3"),
    ],
)
def test_features_that_do_not_fit_are_named(
    room: tuple[Scene, Localizer], change: dict, error: type, says: str
) -> None:
    features = dataclasses.replace(room[0].view(QUERY)[0], **change)
    with pytest.raises(error, match=says):
        room[1].localize([View(features, CAMERA)])


def test_descriptors_of_another_length_are_refused_with_a_prior_too(room: tuple[Scene, Localizer]) -> None:
    features = room[0].view(QUERY)[0]
    other = dataclasses.replace(features, descriptors=features.descriptors[:, :7])
    for prior in (None, QUERY):
        with pytest.raises(MapError, match="7 values"):
            room[1].localize([View(other, CAMERA)], prior)


def test_a_prior_that_is_no_pose_is_named_and_odometry_that_is_none_ignored(room: tuple[Scene, Localizer]) -> None:
    features = room[0].view(QUERY)[0]
    with pytest.raises(ConfigError, match="finite"):
        room[1].localize([View(features, CAMERA)], NAN_POSE)
    tracker = Tracker(room[1])
    for stamp_s in (0.0, 0.1, float("nan"), -5.0, 1e18):
        assert isinstance(tracker.process([View(features, CAMERA)], stamp_s, NAN_POSE), Localized)


@pytest.mark.parametrize("count", [0, 1, 3, LocalizerConfig().min_inliers - 1])
def test_few_keypoints_give_no_pose(room: tuple[Scene, Localizer], count: int) -> None:
    features = room[0].view(QUERY, outliers=0.0)[0]
    few = dataclasses.replace(features, keypoints_px=features.keypoints_px[:count], scores=features.scores[:count],
                              descriptors=features.descriptors[:count])  # fmt: skip
    for prior in (None, QUERY):
        result = room[1].localize([View(few, CAMERA)], prior)
        assert isinstance(result, NotLocalized)
        assert result.reason is Reason.TOO_FEW_KEYPOINTS
