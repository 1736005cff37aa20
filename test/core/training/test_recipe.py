# ruff: noqa: E402
"""The whole recipe on a drawn pool: it ends, resumes without training again, and writes a model that loads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tiny_training import TINY, grid_teacher

from hfnet_core.errors import ConfigError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.training.data.global_data import GlobalDataSettings
from hfnet_core.training.data.local_data import LocalDataSettings
from hfnet_core.training.data.pool import select_keypoints
from hfnet_core.training.data.teacher_keypoints import Teacher
from hfnet_core.training.network import HFNet
from hfnet_core.training.recipe import train_network, view_sizes
from hfnet_core.training.teachers.aliked import Aliked


def no_teacher() -> Teacher:
    raise AssertionError("the teacher is asked again")


@pytest.mark.parametrize("global_head", ["local", "layer_18"])
def test_pool_to_model_and_again(global_head: str, pool_folder: Path, tmp_path: Path) -> None:
    output, lines, config = tmp_path / "run", [], dataclasses.replace(TINY, global_head=global_head)
    first = train_network(pool_folder, output, config, lambda: grid_teacher, version="1.2", report=lines.append)

    assert "pool: 4 photos under CC0-1.0" in lines
    backend = open_backend(output / "hfnet.onnx")
    assert backend.info.spec.local_dim == 16
    assert backend.info.spec.pool_local == (global_head == "local")
    assert backend.info.version == "1.2"
    assert backend.infer(np.zeros((48, 64), np.float32)).descriptors.shape == (6, 8, 16)
    stored = np.load(output / "variables.npz")
    assert stored.files

    second = train_network(pool_folder, output, config, no_teacher, version="1.2", report=lines.append)
    for name, value in first.variables().items():
        np.testing.assert_array_equal(second.variables()[name], value, err_msg=name)


def test_another_global_head_goes_on_from_the_same_local_training(pool_folder: Path, tmp_path: Path) -> None:
    def train(**changes: object) -> tuple[HFNet, list[str]]:
        lines: list[str] = []
        config = dataclasses.replace(TINY, **changes)
        return train_network(pool_folder, output, config, lambda: grid_teacher, version="1", report=lines.append), lines

    output = tmp_path / "run"
    first, _ = train()
    second, lines = train(words=6, word_dim=4, global_dim=12)
    assert sum("resumes at" in line for line in lines) == 7
    assert (second.spec.clusters, second.spec.vlad_dim, second.spec.global_dim) == (6, 4, 12)
    for name in ("stem.conv.weight", "descriptor.output.bias", "detector.hidden.norm.running_mean"):
        assert torch.equal(first.state_dict()[name], second.state_dict()[name])
    with pytest.raises(ConfigError, match="give another output folder"):
        train(local_dim=8)


def test_sizes_that_do_not_fit_the_network_are_refused() -> None:
    assert view_sizes(384) == ((320, 240), (384, 288), (448, 336), (288, 384))
    with pytest.raises(ConfigError, match="multiple of 8"):
        LocalDataSettings(crop_px=100)
    with pytest.raises(ConfigError, match="even number"):
        GlobalDataSettings(views=3)
    with pytest.raises(ConfigError, match="multiple of 8"):
        GlobalDataSettings(sizes=((100, 96),))
    with pytest.raises(ConfigError, match="places"):
        dataclasses.replace(TINY, places=1)


def test_missing_or_foreign_teacher_weights_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("kornia", reason="the teacher runs in kornia")
    from hfnet_core.errors import ModelError

    with pytest.raises(ModelError, match=r"none\.pth is missing"):
        Aliked(tmp_path / "none.pth")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"broken\.pth are not weights"):
        Aliked(broken)
    other = tmp_path / "other.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, other)
    with pytest.raises(ModelError, match=r"other\.pth are not weights"):
        Aliked(other)


def test_keypoints_are_selected_by_score_and_distance() -> None:
    xy = np.array([[10, 10], [11, 10], [50, 50], [90, 90], [30, 30]], np.float32)
    scores = np.array([0.5, 0.9, 0.4, 0.1, 0.3], np.float32)
    area = 640 * 480
    np.testing.assert_array_equal(select_keypoints(xy, scores, area, 10, 0.2, 3.0), xy[[1, 2, 4]])
    np.testing.assert_array_equal(select_keypoints(xy, scores, area, 2, 0.2, 3.0), xy[[1, 2]])
    np.testing.assert_array_equal(select_keypoints(xy, scores, area // 2, 2, 0.2, 3.0), xy[[1]])
    assert select_keypoints(xy[:0], scores[:0], area, 10, 0.2, 3.0).shape == (0, 2)
