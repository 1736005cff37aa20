# ruff: noqa: E402
"""The torch network against the released graph's outputs, its padding and its variables."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch.nn import functional

from hfnet_core.errors import ModelError
from hfnet_core.features.network.architecture import NetworkSpec, variable_shapes
from hfnet_core.training.blocks import ConvNorm
from hfnet_core.training.network import HFNet, sample_descriptors

SHARED = Path(os.environ.get("HFNET_SHARED", Path(__file__).resolve().parents[4] / "shared"))
ORACLE = SHARED / "reference" / "hfnet_oracle"
SMALL = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8, corner_aligned=False)


@pytest.mark.parametrize("seed", [0, 1])
def test_reproduces_the_released_graph(seed: int) -> None:
    if not ORACLE.is_dir():
        pytest.skip(f"{ORACLE} is missing: set HFNET_SHARED to the folder that has reference/hfnet_oracle")
    oracle = np.load(ORACLE / f"oracle_seed{seed}.npz")
    specification = importlib.util.spec_from_file_location("reference_weights", ORACLE / "reference_weights.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    network = HFNet(NetworkSpec()).eval()
    network.load_variables(module.reference_weights(seed))

    image = oracle["image"].astype(np.float32)
    image = image[: image.shape[0] // 8 * 8, : image.shape[1] // 8 * 8]
    with torch.inference_mode():
        maps, global_descriptor = network(torch.from_numpy(image)[None, None])

    scores = functional.pixel_shuffle(maps.logits.softmax(1)[:, :-1], 8)[:, 0]
    assert np.abs(maps.logits.permute(0, 2, 3, 1).numpy() - oracle["logits"]).max() < 1e-3
    assert np.abs(scores.numpy() - oracle["scores_dense"]).max() < 1e-4
    assert np.abs(maps.descriptors.permute(0, 2, 3, 1).numpy() - oracle["local_descriptor_map"]).max() < 1e-5
    assert np.abs(global_descriptor.numpy() - oracle["global_descriptor"]).max() < 1e-5


@pytest.mark.parametrize("side", [7, 8, 9, 12])
def test_stride_two_pads_like_tensorflow(side: int) -> None:
    layer = ConvNorm(1, 1, 3, 2, relu=False).eval()
    torch.nn.init.ones_(layer.conv.weight)
    image = torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side)

    found = layer(image)[0, 0].detach().numpy()

    output = -(-side // 2)
    before = max((output - 1) * 2 + 3 - side, 0) // 2
    padded = np.zeros((side + 4, side + 4), np.float32)
    padded[before : before + side, before : before + side] = image[0, 0].numpy()
    expected = [[padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum() for j in range(output)] for i in range(output)]
    assert found.shape == (output, output)
    np.testing.assert_allclose(found, np.array(expected) / np.sqrt(1 + 1e-3), rtol=1e-5)


@pytest.mark.parametrize("sides", [(8, 12), (9, 12), (7, 7)])
def test_gradients_of_a_strided_depthwise_layer_are_those_of_its_sum(sides: tuple[int, int]) -> None:
    """Against differences of the layer's own output: its gradients are computed in another way."""
    torch.manual_seed(0)
    layer = ConvNorm(6, 6, 3, 2, depthwise=True, relu=False).double().eval()
    x = torch.randn(2, 6, *sides, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(layer, (x,))
    weight = layer.conv.weight
    above = torch.randn_like(layer(x)).detach()
    (layer(x) * above).sum().backward()
    step = torch.zeros_like(weight)
    step[4, 0, 1, 2] = 1e-6
    with torch.no_grad():
        before = (layer(x) * above).sum()
        weight.add_(step)
        slope = ((layer(x) * above).sum() - before) / 1e-6
    assert weight.grad is not None
    assert float(weight.grad[4, 0, 1, 2]) == pytest.approx(float(slope), rel=1e-5)


@pytest.mark.parametrize("sides", [(8, 12), (9, 12)])
def test_a_strided_depthwise_layer_computes_the_same_with_and_without_gradients(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = ConvNorm(6, 6, 3, 2, depthwise=True).eval()
    x = torch.randn(2, 6, *sides)
    with torch.no_grad():
        expected = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = layer(x)

    assert torch.equal(layer(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == rounded.dtype
    assert torch.equal(found, rounded)


def test_variables_come_back_from_a_round_trip() -> None:
    torch.manual_seed(0)
    first, second = HFNet(SMALL).eval(), HFNet(SMALL).eval()
    with torch.no_grad():
        first.global_head.norm.weight.copy_(torch.tensor([2.0, -1.5, 0.5, 3.0]))
        first.global_head.norm.running_mean.normal_()
    variables = first.variables()
    second.load_variables(variables)

    assert {name: value.shape for name, value in variables.items()} == variable_shapes(SMALL)
    assert all(value.dtype == np.float32 for value in variables.values())
    image = torch.rand(1, 1, 64, 72) * 255
    with torch.inference_mode():
        (maps_1, global_1), (maps_2, global_2) = first(image), second(image)
    torch.testing.assert_close(maps_1.logits, maps_2.logits)
    torch.testing.assert_close(maps_1.descriptors, maps_2.descriptors)
    torch.testing.assert_close(global_1, global_2, atol=1e-5, rtol=1e-4)  # gamma is folded


def test_variables_of_another_network_are_refused_by_name() -> None:
    network = HFNet(SMALL)
    variables = network.variables()
    wrong = dict(variables)
    wrong["global_head/vlad/clusters"] = wrong["global_head/vlad/clusters"][..., :3]
    with pytest.raises(ModelError, match="global_head/vlad/clusters"):
        network.load_variables(wrong)
    del wrong["MobilenetV2/Conv/weights"]
    with pytest.raises(ModelError, match="MobilenetV2/Conv/weights"):
        network.load_variables(wrong)
    with pytest.raises(ModelError, match="surplus"):
        network.load_variables(variables | {"surplus": np.zeros(1, np.float32)})


def test_descriptors_are_sampled_at_geometric_cell_centres() -> None:
    columns = torch.arange(6, dtype=torch.float32).expand(4, 6)
    descriptor_map = torch.stack([columns, torch.ones(4, 6)])[None]
    xy = torch.tensor([[3.5, 3.5], [7.5, 3.5], [27.5, 11.5]])

    found = sample_descriptors(descriptor_map, torch.zeros(3, dtype=torch.long), xy)

    expected = functional.normalize(torch.tensor([[0.0, 1.0], [0.5, 1.0], [3.0, 1.0]]), dim=1)
    torch.testing.assert_close(found, expected)
