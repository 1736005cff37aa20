"""Export of features and matches: files that are named as images are, resumed, and read back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import wall
from helpers import textured_image, tiny_model

from hfnet_core.cli.main import app
from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.exchange.hloc_files import HlocFile, read_pairs
from hfnet_core.features.exchange.hloc_writing import append_features
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.extractor import Extractor
from hfnet_core.front_ends.exporting import Exported, ExportOptions, export_features
from hfnet_core.front_ends.match_exporting import export_matches, retrieved_names
from hfnet_core.front_ends.matchers import mutual_neighbours
from hfnet_core.types import Features


def some_images(folder: Path) -> Path:
    for number, name in enumerate(("db/1.png", "db/2.png", "query/night/1.jpg")):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), textured_image(160, 120, seed=number // 2))
    return folder / "images"


def run(*words: object) -> None:
    app([str(word) for word in words], standalone_mode=False)


def test_the_command_writes_a_file_for_each_image_under_its_path(tmp_path: Path) -> None:
    images, model = some_images(tmp_path), tiny_model(tmp_path)
    run("export-features", images, tmp_path / "out", "--model", model, "--threshold", 0.0, "--keypoints", 50)
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.npz"))
    assert found == ["db/1.npz", "db/2.npz", "query/night/1.npz"]
    with np.load(tmp_path / "out" / "db/1.npz") as stored:
        assert stored["keypoints"].shape == (50, 2)
        assert stored["local_descriptors"].shape == (50, 16)


def test_an_interrupted_export_goes_on_and_a_damaged_image_is_left_out(tmp_path: Path) -> None:
    images = some_images(tmp_path)
    (images / "db" / "0.png").write_bytes(b"no image")
    sift = SiftExtractor(ExtractorConfig(max_keypoints=20))
    first = export_features(images, tmp_path / "out", sift)
    assert (first.written, first.present, len(first.broken)) == (3, 0, 1)
    (tmp_path / "out" / "db" / "2.npz").unlink()
    assert export_features(images, tmp_path / "out", sift) == Exported(1, 2, first.broken)
    again = export_features(images, tmp_path / "out", sift, ExportOptions(overwrite=True))
    assert (again.written, again.present) == (3, 0)


@pytest.mark.parametrize("output", ["out", "out.h5"])
def test_features_of_another_network_are_not_mixed_with_those_that_are_there(tmp_path: Path, output: str) -> None:
    images, before, other = some_images(tmp_path), (SiftExtractor(ExtractorConfig(max_keypoints=20))), tmp_path / "b"
    export_features(images, tmp_path / output, before)
    cv2.imwrite(str(images / "0.png"), textured_image(160, 120, seed=7))
    other.mkdir()
    network = Extractor(open_backend(tiny_model(other), threads=1), ExtractorConfig(max_keypoints=20))
    with pytest.raises(ConfigError, match=rf"{output}: holds features of another network .*; choose another output"):
        export_features(images, tmp_path / output, network)
    assert export_features(images, tmp_path / output, before).written == 1
    assert export_features(images, tmp_path / output, network, ExportOptions(overwrite=True)).written == 4


def test_global_descriptors_are_written_beside_local_ones_that_are_there(tmp_path: Path) -> None:
    images, network = some_images(tmp_path), Extractor(open_backend(tiny_model(tmp_path), threads=1), ExtractorConfig())
    export_features(images, tmp_path / "l.h5", network)
    both = ExportOptions(global_output=tmp_path / "g.h5")
    assert export_features(images, tmp_path / "l.h5", network, both).written == 3
    with HlocFile(tmp_path / "g.h5") as stored:
        assert len(stored.names()) == 3
    assert export_features(images, tmp_path / "l.h5", network, both).present == 3


def test_images_of_twelve_bits_are_seen_as_everywhere_else(tmp_path: Path) -> None:
    class Looking(SiftExtractor):
        brightest = 0

        def extract(self, image: np.ndarray) -> Features:
            self.brightest = max(self.brightest, int(image.max()))
            return super().extract(image)

    (tmp_path / "deep").mkdir()
    for number in range(3):
        deep = textured_image(160, 120, seed=number).astype(np.uint16) << 4
        cv2.imwrite(str(tmp_path / "deep" / f"{number}.png"), deep)
    looking = Looking(ExtractorConfig(max_keypoints=20))
    export_features(tmp_path / "deep", tmp_path / "out", looking)
    assert looking.brightest > 60_000


def test_a_recording_is_exported_by_the_numbers_of_its_images(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    wall.wall_bag(bag, (0, 32))
    sift = SiftExtractor(ExtractorConfig(max_keypoints=20))
    export_features(bag, tmp_path / "out", sift)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000000.npz", "000001.npz"]


def test_images_that_would_share_a_file_and_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    images, sift = some_images(tmp_path), SiftExtractor()
    cv2.imwrite(str(images / "db" / "1.jpg"), textured_image())
    with pytest.raises(ConfigError, match=r"would both become db/1\.npz"):
        export_features(images, tmp_path / "out", sift)
    with pytest.raises(ConfigError, match="--dense writes"):
        export_features(images, tmp_path / "a.h5", sift, ExportOptions(dense=True))
    with pytest.raises(ConfigError, match="--global-output goes with"):
        export_features(images, tmp_path / "out", sift, ExportOptions(global_output=tmp_path / "b.h5"))
    with pytest.raises(DatasetError, match="no such folder of images"):
        export_features(tmp_path / "none", tmp_path / "out", sift)


def test_features_pairs_and_matches_go_through_hlocs_files(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    images, model = some_images(tmp_path), tiny_model(tmp_path)
    features, pairs, matches = tmp_path / "f.h5", tmp_path / "pairs.txt", tmp_path / "m.h5"
    run("export-features", images, features, "--model", model, "--threshold", 0.0, "--keypoints", 50)
    run("match-features", features, matches, "--retrieved", 1, "--queries", "db", "--database", "db",
        "--pairs-output", pairs)  # fmt: skip
    assert read_pairs(pairs) == [("db/1.png", "db/2.png"), ("db/2.png", "db/1.png")]
    with HlocFile(matches) as stored:
        found = stored.matches("db/1.png", "db/2.png", (50, 50))
    assert found is not None
    assert np.array_equal(found[:, 0], found[:, 1])  # the same image twice
    with pytest.raises(ConfigError, match="either --pairs FILE or --retrieved"):
        run("match-features", features, matches)


def test_matches_are_told_in_the_order_of_the_file_whatever_its_scores(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    descriptors = np.eye(4, dtype=np.float32)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name, order, scores in (
            ("a", [0, 1, 2, 3], [0.1, 0.9, 0.5, 0.2]),
            ("b", [2, 0, 3, 1], [0.3, 0.1, 0.8, 0.6]),
        ):
            group = file.create_group(name)
            group["keypoints"] = np.zeros((4, 2))
            group["descriptors"] = descriptors[order].T
            group["scores"] = np.array(scores)
            group["image_size"] = np.array([64, 48])
    assert export_matches(tmp_path / "f.h5", [("a", "b"), ("b", "a")], tmp_path / "m.h5", mutual_neighbours) == 1
    with HlocFile(tmp_path / "m.h5") as stored:
        found = stored.matches("a", "b", (4, 4))
    assert found is not None
    assert found.tolist() == [[0, 1], [1, 3], [2, 0], [3, 2]]


def test_retrieval_without_global_descriptors_says_so(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    append_features(tmp_path / "f.h5", [("a", SiftExtractor().extract(textured_image()))])
    with pytest.raises(DatasetError, match="holds no global descriptors"):
        retrieved_names(tmp_path / "f.h5", 3)
    assert not StoredFeatures([tmp_path / "f.h5"]).has_global
