"""Features in `.npz`: ours come back as they were, the original repository's are read as it wrote them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.exchange.npz_files import read_npz, write_npz
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.extractor import Extractor


def extractor(folder: Path, max_side_px: int = 0) -> Extractor:
    config = ExtractorConfig(max_keypoints=100, detection_threshold=0.0, max_side_px=max_side_px)
    return Extractor(open_backend(tiny_model(folder), "onnxruntime"), config)


@pytest.mark.parametrize("max_side_px", [0, 128])
@pytest.mark.parametrize("dense", [False, True])
def test_exported_features_come_back_as_they_were(tmp_path: Path, dense: bool, max_side_px: int) -> None:
    source, image = extractor(tmp_path, max_side_px), textured_image(200, 160)
    features = source.extract(image)
    (tmp_path / "out").mkdir()
    write_npz(tmp_path / "out" / "a.npz", features, source.info, dense=dense)
    stored = StoredFeatures([tmp_path / "out"], ExtractorConfig(max_keypoints=100))
    back = stored.of("a.jpg").extract(image)
    assert stored.info.model_hash == source.info.model_hash
    assert np.allclose(back.keypoints_px, features.keypoints_px, atol=1e-3)
    assert np.allclose(back.descriptors, features.descriptors, atol=1e-3)
    assert np.allclose(back.global_descriptor, features.global_descriptor, atol=1e-6)
    assert (back.width, back.height) == (200, 160)


def test_the_keys_and_shapes_are_those_of_the_original_repository(tmp_path: Path) -> None:
    source = extractor(tmp_path, 128)
    features = source.extract(textured_image(200, 160))
    for name, dense in (("sparse", False), ("dense", True)):
        write_npz(tmp_path / f"{name}.npz", features, source.info, dense=dense)
    sparse, dense = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("sparse", "dense"))
    count = len(features)
    assert sparse["input_shape"].tolist() == [102, 128, 1]
    assert sparse["keypoints"].shape == (count, 2)
    assert sparse["keypoints"].max() < 128
    assert sparse["scores"].shape == (count,)
    assert sparse["local_descriptors"].shape == (count, 16)
    assert sparse["global_descriptor"].shape == (32,)
    assert dense["local_descriptor_map"].shape == (12, 16, 16)
    assert "local_descriptors" not in dense


def test_a_file_of_the_original_repository_scales_by_the_input_without_an_offset(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "db.npz",
        keypoints=np.array([[10, 20], [30, 40]], np.int32),
        scores=np.array([0.1, 0.9], np.float32),
        local_descriptors=np.array([[3, 0], [0, 2]], np.float32),
        global_descriptor=np.array([0, 5], np.float32),
        input_shape=np.array([60, 80, 1], np.int32),
    )
    entered = StoredFeatures([tmp_path]).entered("db.jpg", (160, 120))
    assert entered.features.keypoints_px.tolist() == [[60, 80], [20, 40]]  # the strongest first
    assert entered.features.descriptors.tolist() == [[0, 1], [1, 0]]
    assert entered.features.global_descriptor.tolist() == [0, 1]
    assert entered.order.tolist() == [1, 0]


def test_features_without_a_map_of_descriptors_cannot_be_exported_densely(tmp_path: Path) -> None:
    sift = SiftExtractor()
    with pytest.raises(DatasetError, match="without --dense"):
        write_npz(tmp_path / "a.npz", sift.extract(textured_image()), sift.info, dense=True)


def good(**changed: object) -> dict[str, object]:
    values: dict[str, object] = {
        "keypoints": np.zeros((3, 2), np.float32),
        "scores": np.ones(3, np.float32),
        "local_descriptors": np.eye(3, dtype=np.float32),
    }
    return {**values, **changed}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"keypoints": np.full((3, 2), np.nan, np.float32)}, "NaN or infinite"),
        ({"keypoints": np.full((3, 2), 500, np.float32)}, "of another size"),
        ({"keypoints": np.zeros((3, 3), np.float32)}, "do not fit each other"),
        ({"scores": np.ones(2, np.float32)}, "3 keypoints, 2 scores"),
        ({"scores": np.array([1, np.inf, 1], np.float32)}, "scores hold NaN"),
        ({"local_descriptors": np.eye(2, dtype=np.float32)}, "do not fit each other"),
        ({"local_descriptors": np.zeros((3, 0), np.float32)}, "local_descriptors of 2 dimensions"),
        ({"image_size": np.array([320, 240])}, "features are of an image of 320x240, this one has 160x120"),
        ({"input_shape": np.array([0, 0, 1])}, "input_shape is no size"),
        ({"global_descriptor": np.zeros(4, np.float32)}, "its global descriptor has 4 numbers and length 0"),
        ({"keypoints": np.array([[{}]], object)}, "cannot be read as features"),
        ({"keypoints": np.array([["a", "b"]] * 3)}, "keypoints of 2 dimensions"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path, changed: dict[str, object], said: str) -> None:
    np.savez(tmp_path / "a.npz", **good(**changed))
    with pytest.raises(DatasetError, match=said) as caught:
        StoredFeatures([tmp_path]).entered("a.png", (160, 120))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_an_array_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 2)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("keypoints.npy", header.getvalue())
    with pytest.raises(DatasetError, match="in 0 bytes"):
        read_npz(tmp_path / "a.npz")


def test_more_than_the_limit_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFNET_MAX_FEATURES_MB", "1")
    np.savez_compressed(tmp_path / "a.npz", keypoints=np.zeros((200_000, 2), np.float32))
    with pytest.raises(DatasetError, match="raised by HFNET_MAX_FEATURES_MB"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


def test_an_image_without_features_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **good())
    with pytest.raises(DatasetError, match=r"no features b/c\.npz of image b/c\.jpg"):
        StoredFeatures([tmp_path]).entered("b/c.jpg", (160, 120))
