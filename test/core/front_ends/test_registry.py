"""One table of front ends: names, files, descriptions, and what is said of those that are not there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError, MissingExtraError
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.exchange.npz_files import write_npz
from hfnet_core.features.sources import BorrowedRetrieval, NamedSource, extract_named, with_retrieval
from hfnet_core.front_ends import registry
from hfnet_core.front_ends.registry import PEERS, FrontEndSetup, front_end, local_front_end
from hfnet_core.images.preparation import Preparation


def setup(folder: Path) -> FrontEndSetup:
    return FrontEndSetup(ExtractorConfig(max_keypoints=100), tiny_model(folder), "onnxruntime", threads=1)


def test_front_ends_are_named_and_borrow_our_global_descriptor(tmp_path: Path) -> None:
    given = setup(tmp_path)
    image = textured_image(160, 120)
    ours, orb = front_end("hfnet", given), front_end("orb", given)
    assert orb.info.name == "orb"
    borrowed = orb.extract(image)
    assert borrowed.descriptors.shape[1] == 256
    assert np.array_equal(borrowed.global_descriptor, ours.extract(image).global_descriptor)


def test_borrowed_retrieval_takes_each_part_from_its_source() -> None:
    image = textured_image(160, 120)
    mixed = BorrowedRetrieval(OrbExtractor(), SiftExtractor())
    assert mixed.extract(image).descriptors.shape[1] == 256
    assert mixed.info.model_hash == OrbExtractor().info.model_hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("surf", "features 'surf' are not known; give hfnet, sift, orb, aliked"),
        ("superpoint", "give superpoint=FILE"),
    ],
)
def test_what_is_not_known_or_lacks_its_weights_is_said_with_what_there_is(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        front_end(text, setup(tmp_path))


@pytest.mark.parametrize("name", ["aliked", "disk", "xfeat"])
def test_without_torch_one_line_names_the_extra(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [one for one in sys.modules if one.startswith("hfnet_core.training.peers")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'hfnet_ros\[peers\]'"):
        front_end(name, setup(tmp_path))


def test_a_peer_runs_through_the_same_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for its network: it sees colours at reduced size, its keypoints come back in the image's."""
    seen = []

    class Features:
        @staticmethod
        def disk(keypoints: int, weights: Path | None) -> object:
            assert (keypoints, weights) == (100, None)

            def network(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                seen.append(image.shape)
                return np.array([[0, 0], [79, 59]], np.float32), np.array([0.1, 0.9]), np.eye(2, 128)

            return network

    monkeypatch.setattr(registry, "torch_module", lambda name, threads=0: Features)
    given = FrontEndSetup(ExtractorConfig(max_keypoints=100, max_side_px=80))
    source = local_front_end("disk", given)
    features = source.extract(textured_image(160, 120))
    assert seen == [(60, 80, 3)]
    assert features.keypoints_px.tolist() == [[158.5, 118.5], [0.5, 0.5]]
    assert source.info.name == PEERS["disk"].name
    assert source.info.spec.local_dim == 128


def test_a_folder_of_features_is_a_front_end_that_knows_images_by_name(tmp_path: Path) -> None:
    given, image = setup(tmp_path), textured_image(160, 120)
    sift = SiftExtractor(given.config)
    (tmp_path / "out").mkdir()
    write_npz(tmp_path / "out" / "a.npz", sift.extract(image), sift.info)
    source = front_end(str(tmp_path / "out"), given)
    assert isinstance(source, NamedSource)
    features = extract_named(source, image, "a.jpg")
    assert features.descriptors.shape[1] == 128
    assert len(features.global_descriptor) == 32  # of our network, as SIFT has none
    assert source.info.model_hash == sift.info.model_hash
    turned = extract_named(source, image, "a.jpg", Preparation(180))  # what a file says is not turned
    assert np.array_equal(turned.keypoints_px, features.keypoints_px)


def test_global_descriptors_may_come_from_files_as_well(tmp_path: Path) -> None:
    given, image = setup(tmp_path), textured_image(160, 120)
    network = given.network()
    (tmp_path / "out").mkdir()
    write_npz(tmp_path / "out" / "a.npz", network.extract(image), network.info)
    mixed = with_retrieval(SiftExtractor(given.config), local_front_end(str(tmp_path / "out"), given))
    features = extract_named(mixed, image, "a.png")
    assert features.descriptors.shape[1] == 128
    assert np.allclose(features.global_descriptor, network.extract(image).global_descriptor, atol=1e-6)
