# ruff: noqa: E402
"""Weights before the first step: drawn as the paper's were, or taken by name and shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoint_writer import write_checkpoint

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.checkpoint import save_network
from hfnet_core.training.initialization import draw_weights, start_from
from hfnet_core.training.network import HFNet

SPEC = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=0)


def drawn(seed: int) -> HFNet:
    network = HFNet(SPEC)
    draw_weights(network, seed)
    return network


def test_weights_have_the_papers_distributions_and_repeat() -> None:
    network, again, other = drawn(0), drawn(0), drawn(1)
    states = network.state_dict(), again.state_dict(), other.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not torch.equal(states[0]["stem.conv.weight"], states[2]["stem.conv.weight"])
    kernel = network.deep[-1].project.conv.weight.detach()  # 172,800 numbers
    assert float(kernel.abs().max()) <= 0.18
    assert float(kernel.std()) == pytest.approx(0.09 * 0.8796, rel=0.01)  # truncated at two deviations
    assert float(kernel.mean()) == pytest.approx(0, abs=1e-3)
    for name, bound in {"clusters": (6 / 244) ** 0.5, "reduction.weight": (6 / (4 * 240 + 24)) ** 0.5}.items():
        values = states[0][f"global_head.{name}"]
        assert 0.95 * bound < float(values.abs().max()) <= bound
    assert float(states[0]["global_head.memberships.weight"].abs().max()) <= (6 / 244) ** 0.5
    assert not network.detector.output.bias.any()
    assert torch.equal(network.stem.norm.running_var, torch.ones(24))


def test_a_tensorflow_checkpoint_fills_what_has_its_name_and_shape(tmp_path: Path) -> None:
    network, before = drawn(0), drawn(0).variables()
    fits, other = "MobilenetV2/expanded_conv_1/expand/weights", "MobilenetV2/Conv/weights"
    values = {
        fits: np.full(before[fits].shape, 0.5, np.float32),
        other: np.zeros((3, 3, 3, 24), np.float32),  # of colour images
        "MobilenetV2/Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 8, 9), np.float32),
    }
    write_checkpoint(tmp_path / "imagenet", values)
    assert start_from(network, tmp_path / "imagenet") == 1
    after = network.variables()
    np.testing.assert_array_equal(after[fits], values[fits])
    for name in before.keys() - {fits}:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_a_checkpoint_of_ours_fills_all_but_another_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = HFNet(NetworkSpec(local_dim=16, global_dim=30, clusters=4))
    save_network(source, tmp_path / "trained.pt")
    network = drawn(0)
    assert start_from(network, tmp_path / "trained.pt") == len(source.variables()) - 2
    assert torch.equal(network.deep[3].expand.conv.weight, source.deep[3].expand.conv.weight)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other", {"resnet/conv1/weights": np.zeros((1, 1, 2, 3), np.float32)})
    with pytest.raises(ModelError, match="no variable in it has name and shape"):
        start_from(drawn(0), tmp_path / "other")
