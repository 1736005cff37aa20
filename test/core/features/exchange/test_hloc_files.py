"""hloc's files: layout, names, both generations of matches, and what damaged ones do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hfnet_core.errors import DatasetError
from hfnet_core.features.exchange.hloc_files import (
    HlocFile,
    read_pairs,
    write_pairs,
)
from hfnet_core.features.exchange.hloc_writing import append_features, append_matches
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.types import Features

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")


def some_features(seed: int = 0, count: int = 20) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, 8)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    keypoints = rng.uniform(0, (159, 119), (count, 2)).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, count).astype(np.float32))[::-1].copy()
    everywhere = np.eye(4, dtype=np.float32)[seed % 4]
    return Features(keypoints, scores, descriptors, everywhere, 160, 120)


def as_hloc_writes(path: Path, name: str, features: Features) -> None:
    """Everything in half precision but the size, descriptors a column for each keypoint."""
    with h5py.File(path, "a", libver="latest") as file:
        group = file.create_group(name)
        group.create_dataset("keypoints", data=features.keypoints_px.astype(np.float16))
        group.create_dataset("scores", data=features.scores.astype(np.float16))
        group.create_dataset("descriptors", data=features.descriptors.T.astype(np.float16))
        group.create_dataset("image_size", data=np.array([features.width, features.height]))


def test_features_are_laid_out_as_hloc_does(tmp_path: Path) -> None:
    features, path = some_features(), tmp_path / "features.h5"
    assert append_features(path, [("db/1.jpg", features)], model_hash="f" * 64) == 1
    with h5py.File(path) as file:
        group = file["db/1.jpg"]
        assert group["keypoints"].shape == (20, 2)
        assert group["keypoints"].attrs["uncertainty"] == 1
        assert group["descriptors"].shape == (8, 20)
        assert group["descriptors"].dtype == group["scores"].dtype == group["global_descriptor"].dtype == np.float16
        assert group["image_size"][()].tolist() == [160, 120]
        assert group["image_size"].dtype == np.int64


def test_global_descriptors_may_have_a_file_of_their_own(tmp_path: Path) -> None:
    local, everywhere = tmp_path / "local.h5", tmp_path / "global.h5"
    append_features(local, [("a.png", some_features(1))], globals_path=everywhere)
    with HlocFile(local) as one, HlocFile(everywhere) as other:
        assert "global_descriptor" not in one.keys("a.png")
        assert set(other.keys("a.png")) == {"global_descriptor", "image_size"}
    stored = StoredFeatures([local, everywhere])
    assert stored.entered("a.png", (160, 120)).features.global_descriptor.tolist() == [0, 1, 0, 0]
    assert stored.has_global


def test_our_features_come_back_and_tell_their_model(tmp_path: Path) -> None:
    features, path = some_features(), tmp_path / "features.h5"
    append_features(path, [("db/1.jpg", features)], model_hash="e" * 64)
    append_features(path, [("db/1.jpg", features)], model_hash="e" * 64)  # replaces
    stored = StoredFeatures([path])
    back = stored.entered("db/1.jpg", (160, 120)).features
    assert stored.info.model_hash == "e" * 64
    assert np.array_equal(back.keypoints_px, features.keypoints_px)
    assert np.allclose(back.descriptors, features.descriptors, atol=1e-3)


def test_features_of_hloc_are_read(tmp_path: Path) -> None:
    features, path = some_features(), tmp_path / "feats-superpoint.h5"
    as_hloc_writes(path, "query/night/2.png", features)
    entered = StoredFeatures([path]).entered("query/night/2.png", (160, 120))
    assert np.allclose(entered.features.keypoints_px, features.keypoints_px[entered.order], atol=0.1)
    assert entered.features.descriptors.shape == (20, 8)
    assert len(entered.features.global_descriptor) == 0
    with pytest.raises(DatasetError, match=r"query/3\.png: no features of this image"):
        StoredFeatures([path]).entered("query/3.png", (160, 120))
    with pytest.raises(DatasetError, match="of an image of 160x120, this one has 80x60"):
        StoredFeatures([path]).entered("query/night/2.png", (80, 60))


PAIRS = np.array([[0, 2], [3, 1]], np.int32)


@pytest.mark.parametrize("separator", ["/", "_"])
@pytest.mark.parametrize("swapped", [False, True])
def test_matches_are_found_in_either_order_and_both_generations_of_names(
    tmp_path: Path, separator: str, swapped: bool
) -> None:
    first, second = ("db/2.jpg", "q/1.jpg") if swapped else ("q/1.jpg", "db/2.jpg")
    pairs = PAIRS[:, ::-1] if swapped else PAIRS
    partners = np.full(5, -1, np.int16)
    partners[pairs[:, 0]] = pairs[:, 1]
    with h5py.File(tmp_path / "m.h5", "w") as file:
        name = separator.join((first.replace("/", "-"), second.replace("/", "-")))
        file.create_group(name).create_dataset("matches0", data=partners)
    with HlocFile(tmp_path / "m.h5") as stored:
        found = stored.matches("q/1.jpg", "db/2.jpg", (5, 5))
        assert found is not None
        assert sorted(map(tuple, found.tolist())) == [(0, 2), (3, 1)]
        assert stored.matches("q/1.jpg", "db/3.jpg", (5, 5)) is None


def test_our_matches_come_back(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    append_matches(path, [(("q/1.jpg", "db/2.jpg"), 6, PAIRS, np.array([0.5, 1], np.float32))])
    with HlocFile(path) as stored:
        found = stored.matches("q/1.jpg", "db/2.jpg", (6, 3))
    assert found is not None
    assert np.array_equal(found, PAIRS)
    with h5py.File(path) as file:
        assert file["q-1.jpg/db-2.jpg/matches0"].dtype == np.int16
        assert file["q-1.jpg/db-2.jpg/matching_scores0"][()].tolist() == [0.5, 0, 0, 1, 0, 0]


def test_matches_of_other_features_are_refused(tmp_path: Path) -> None:
    append_matches(tmp_path / "m.h5", [(("a", "b"), 6, PAIRS, np.ones(2, np.float32))])
    with HlocFile(tmp_path / "m.h5") as stored:
        with pytest.raises(DatasetError, match="are they of other features"):
            stored.matches("a", "b", (5, 3))
        with pytest.raises(DatasetError, match="not between 6 and 2 keypoints"):
            stored.matches("a", "b", (6, 2))


def test_damaged_and_foreign_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("keypoints")
    with pytest.raises(DatasetError, match="cannot be read as HDF5"):
        HlocFile(tmp_path / "text.h5")
    with pytest.raises(DatasetError, match="no such file"):
        HlocFile(tmp_path / "none.h5")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file.create_group("a").create_dataset("keypoints", data=np.array([b"x"]))
        file.create_group("b").create_dataset("keypoints", shape=(10**10, 2), dtype="f4")  # promises, holds nothing
        file["b"].create_dataset("descriptors", data=np.zeros((8, 2)))
        file.create_group("c").create_dataset("keypoints", data=np.zeros((2, 2)))
    with HlocFile(tmp_path / "odd.h5") as stored:
        with pytest.raises(DatasetError, match="a has no descriptors"):
            stored.features("a")
        with pytest.raises(DatasetError, match="raised by HFNET_MAX_FEATURES_MB"):
            stored.features("b")
        with pytest.raises(DatasetError, match="c has no descriptors"):
            stored.features("c")


def test_arrays_that_lie_in_other_files_are_refused(tmp_path: Path) -> None:
    append_features(tmp_path / "secret.h5", [("a.png", some_features())])
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["a.png"] = h5py.ExternalLink("secret.h5", "a.png")
    with HlocFile(tmp_path / "link.h5") as stored, pytest.raises(DatasetError, match="stored in this file"):
        stored.features("a.png")


def test_lists_of_pairs_come_back_and_a_bad_line_is_named(tmp_path: Path) -> None:
    pairs = [("q/1.jpg", "db/1.jpg"), ("q/1.jpg", "db/2.jpg")]
    write_pairs(tmp_path / "pairs.txt", pairs)
    assert read_pairs(tmp_path / "pairs.txt") == pairs
    (tmp_path / "bad.txt").write_text("a b\na b c\n")
    with pytest.raises(DatasetError, match="line 2: is not NAME0 NAME1"):
        read_pairs(tmp_path / "bad.txt")
    with pytest.raises(DatasetError, match="has a space"):
        write_pairs(tmp_path / "space.txt", [("a b", "c")])
