# ruff: noqa: E402
"""Training that goes on from a model file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")

from tiny_training import TINY, grid_teacher

from hfnet_core.errors import DatasetError, ModelError
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.data.pool import Photo, Pool
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.recipe import train_network
from hfnet_core.training.start import load_local_part, load_vlad
from hfnet_core.training.teachers.model_teacher import ModelTeacher

SPEC = NetworkSpec(128, 1024, 48, 48, corner_aligned=False, pool_local=True)


def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = [rng.uniform(0, 255, (24, 32)).astype(np.float32) for _ in range(4)]
    return [np.clip(cv2.resize(c, (256, 192), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8) for c in coarse]


@pytest.fixture(scope="module")
def started() -> HFNet:
    network = HFNet(SPEC)
    load_local_part(network, DEFAULT_MODEL, photos())
    return network


def test_the_network_computes_what_the_model_does(started: HFNet) -> None:
    image = photos()[0]
    expected = open_backend(DEFAULT_MODEL, "onnxruntime", 1).infer(image.astype(np.float32))
    started.eval()
    with torch.no_grad():
        maps = started.local(torch.from_numpy(image)[None, None].float())
    found = maps.descriptors[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected.descriptors).max() < 1e-3


def test_its_vlad_describes_an_image_as_the_model_does(started: HFNet) -> None:
    image = photos()[0]
    expected = open_backend(DEFAULT_MODEL, "onnxruntime", 1).infer(image.astype(np.float32)).global_descriptor
    head = load_vlad(LocalVladHead(SPEC), DEFAULT_MODEL)
    started.eval()
    with torch.no_grad():
        found = head(started.local(torch.from_numpy(image)[None, None].float()))[0].numpy()
    assert np.abs(found - expected).max() < 1e-3
    with pytest.raises(ModelError, match="has shape"):
        load_vlad(LocalVladHead(dataclasses.replace(SPEC, clusters=32)), DEFAULT_MODEL)


def test_its_batch_norms_leave_it_as_it_is_where_they_measure_the_batch_themselves(started: HFNet) -> None:
    """What training does: statistics of the batch instead of the stored ones."""
    images = torch.from_numpy(np.stack(photos()))[:, None].float()
    started.eval()
    with torch.no_grad():
        expected = started.local(images).descriptors
        started.train()
        found = started.local(images).descriptors
    started.eval()
    assert (found * expected).sum(dim=1).mean() > 0.995


def test_a_model_of_other_sizes_is_refused() -> None:
    with pytest.raises(ModelError, match="has shape"):
        load_local_part(HFNet(dataclasses.replace(SPEC, local_dim=64)), DEFAULT_MODEL, photos())
    with pytest.raises(ModelError, match="there are none"):
        load_local_part(HFNet(SPEC), DEFAULT_MODEL, [])


def test_the_recipe_goes_on_from_a_model_with_its_last_local_stage_alone(pool_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    config = dataclasses.replace(TINY, local_dim=128)
    output = tmp_path / "run"
    train_network(
        pool_folder, output, config, lambda: grid_teacher, version="1", start=DEFAULT_MODEL, report=lines.append
    )
    assert (output / "wide" / "checkpoint.pt").is_file()
    assert not (output / "local").exists()
    assert open_backend(output / "hfnet.onnx").info.spec.local_dim == 128


def test_layers_8_to_18_are_trained_on_a_model_whose_local_part_stays(pool_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    sizes = {"local_dim": 128, "global_dim": 1024, "words": 48, "word_dim": 48}  # of the model's VLAD, which teaches
    off = {"wide_minutes": 0.0, "own_minutes": 0.0, "quantized_minutes": 0.0}
    config = dataclasses.replace(TINY, global_head="layer_18", **sizes, **off)
    output = tmp_path / "run"
    train_network(
        pool_folder, output, config, lambda: grid_teacher, version="1", start=DEFAULT_MODEL, report=lines.append
    )
    assert sorted(path.name for path in output.iterdir() if (path / "checkpoint.pt").is_file()) == [
        "global",
        "imitation",
        "warmup",
    ]
    image = photos()[0].astype(np.float32)
    made, start = (open_backend(path, "onnxruntime", 1).infer(image) for path in (output / "hfnet.onnx", DEFAULT_MODEL))
    assert np.abs(made.descriptors - start.descriptors).max() < 1e-3
    assert np.abs(made.scores - start.scores).max() < 1e-3
    assert np.abs(made.global_descriptor - start.global_descriptor).max() > 1e-2


def test_a_stage_that_changes_the_local_part_has_the_vlad_fitted_anew(pool_folder: Path, tmp_path: Path) -> None:
    """For layers 8-18 too: the model's own was fitted to other descriptors."""
    sizes = {"local_dim": 128, "global_dim": 24, "words": 4, "word_dim": 8}
    off = {"wide_minutes": 0.0, "quantized_minutes": 0.0}
    config = dataclasses.replace(TINY, global_head="layer_18", **sizes, **off)
    output = tmp_path / "run"
    train_network(pool_folder, output, config, lambda: grid_teacher, version="1", start=DEFAULT_MODEL)
    assert (output / "own" / "checkpoint.pt").is_file()
    assert len(list((output / "global").glob("*/head.pt"))) == 1


def test_photos_that_bind_what_is_made_of_them_are_left_out(pool_folder: Path) -> None:
    manifest = pool_folder / "manifest.csv"
    kinds = ["CC-BY-SA-4.0 (license.txt)", "CC0-1.0", "MIT (LICENSE.md; image origins not itemised)", "CC-BY-3.0"]
    rows = manifest.read_text().splitlines()
    for number, licence in enumerate(kinds, start=1):
        rows[number] = rows[number].replace("CC0-1.0", licence)
    manifest.write_text("\n".join(rows) + "\n")
    pool = Pool.read(pool_folder).permissive()
    assert [photo.license for photo in pool.photos] == ["CC0-1.0", "CC-BY-3.0"]
    assert pool.pairs == ()


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC0-1.0 (LICENSE)", True), ("CC BY 4.0", True), ("BSD-style Georgia Tech (LICENSE)", True), ("MIT", True),
        ('"free to use these media files however you wish" (README.md)', True), ("Apache-2.0", True),
        ("CC BY NC", False), ("CC BY SA 3.0", False), ("Creative Commons Attribution-NonCommercial 4.0", False),
        ("non-commercial use only", False), ("all rights reserved", False), ("proprietary", False), ("unknown", False),
        ("", False), ("MIT (LICENSE.md; image origins not itemised)", False),
    ],
)  # fmt: skip
def test_only_licences_that_are_known_to_ask_for_no_more_than_a_name_are_free(licence: str, free: bool) -> None:
    photo = Photo("a.png", Path("a.png"), "hall", licence)
    assert (len(Pool((photo,), ()).permissive().photos) == 1) is free


def test_a_row_that_ends_early_is_named(pool_folder: Path) -> None:
    manifest = pool_folder / "manifest.csv"
    rows = manifest.read_text().splitlines()
    rows[2] = rows[2].split(",")[0]
    manifest.write_text("\n".join(rows) + "\n")
    with pytest.raises(DatasetError, match=r"manifest\.csv, line 3: has no"):
        Pool.read(pool_folder)


def test_a_model_teaches_its_own_keypoints() -> None:
    teacher = ModelTeacher(DEFAULT_MODEL, max_keypoints=50, threads=1)
    keypoints, descriptors = teacher.describe(photos()[1])
    assert keypoints.xy.shape == (len(descriptors), 2)
    assert descriptors.shape[1] == 128
    assert np.array_equal(teacher(photos()[1]).xy, keypoints.xy)
