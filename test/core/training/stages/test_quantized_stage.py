# ruff: noqa: E402
"""Learning to be rounded, as `hfnet engine quantize` rounds."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")

from torch.utils.data import Dataset

from hfnet_core.features.backends.tensorrt.building.graphs import convolutions
from hfnet_core.features.engine_tools.quantization import activation_ranges, quantize
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.onnx_graph import build_onnx
from hfnet_core.training.data.local_data import LocalBatch, LocalDataSettings, LocalSources
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.network import HFNet, scopes
from hfnet_core.training.stages.loop import Learned, RunSettings, run_stage
from hfnet_core.training.stages.quantized_stage import QuantizedStage, _round, _round_channels

SPEC = NetworkSpec(16, 24, 4, 8, corner_aligned=False, pool_local=True)
CROPS = LocalDataSettings(pairs=2, crop_px=64)


def model(network: HFNet) -> onnx.ModelProto:
    return build_onnx(network.variables(), SPEC, name="n", version="1", licence="MIT", subpixel=True)


def descriptors(of: onnx.ModelProto, images: list[np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(of.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["descriptors"], {"image": i[None, None]})[0].reshape(-1, 16) for i in images])


def test_rounding_keeps_whole_steps_and_bounds_the_rest() -> None:
    values = torch.tensor([0.0, 0.04, 0.06, -0.26, 99.0], requires_grad=True)
    rounded = _round(values, torch.tensor(0.1))
    assert torch.allclose(rounded, torch.tensor([0.0, 0.0, 0.1, -0.3, 12.7]))
    rounded.sum().backward()
    assert torch.allclose(values.grad, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]))
    weight = torch.randn(3, 2, 3, 3) * torch.tensor([1.0, 10.0, 0.1]).reshape(3, 1, 1, 1)
    error = (_round_channels(weight) - weight).abs().flatten(1).amax(dim=1)
    assert (error <= weight.abs().flatten(1).amax(dim=1) / 127 * 0.5001).all()


class Coarse(QuantizedStage):
    """One batch over and over, through ranges so small that much is cut off: something to learn within seconds."""

    def prepare(self, network: HFNet) -> list[torch.nn.Parameter]:
        trained = super().prepare(network)
        self._ranges = [0.2 * largest for largest in self._ranges]
        return trained

    def batches(self, seed: int, length: int) -> Dataset[LocalBatch]:
        (batch,) = [super().batches(seed, 1)[0]]
        return [batch] * length  # type: ignore[return-value]


def test_a_network_learns_to_say_the_same_through_rounding(pool: Pool, teacher_folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC).eval()
    stage = Coarse(LocalSources(pool, teacher_folder), CROPS)
    stage.prepare(network)
    learned = Learned(torch.tensor(1.0), torch.zeros(0))

    def lost() -> float:
        with torch.no_grad():
            return stage.loss(network, learned, stage.batches(0, 1)[0])[1]["lost"]

    before, exact, ranges = lost(), copy.deepcopy(stage._exact), stage._ranges
    settings = RunSettings(steps=40, learning_rate=1e-3, bf16_until=0.0, workers=0)
    run_stage(stage, network, settings, tmp_path / "run")
    stage._exact, stage._ranges = exact, ranges
    after = lost()
    assert before > 0.02
    assert after < 0.7 * before


def test_what_is_trained_is_rounded_as_the_tool_rounds(pool: Pool, teacher_folder: Path) -> None:
    torch.manual_seed(1)
    network = HFNet(SPEC).eval()
    untouched = copy.deepcopy(network.state_dict())
    stage = QuantizedStage(LocalSources(pool, teacher_folder), CROPS)
    stage.prepare(network)
    image = read_gray(pool.photos[0].path).astype(np.float32)
    exact = model(network)
    ranges = activation_ranges(exact, [image])
    expected = descriptors(quantize(exact, ranges), [image])
    # The very ranges of the tool: a hundredth more or less moves a tenth of the roundings.
    by_name = {node.name: ranges[node.input[0]] for node in convolutions(exact)[3:]}
    stage._ranges = [by_name[scope] for scope, _ in scopes(network) if scope in by_name]
    with torch.no_grad():
        found = stage.rounded(network, torch.from_numpy(image)[None, None]).descriptors
    flat = found[0].permute(1, 2, 0).reshape(-1, 16).numpy()
    lost = 1 - (descriptors(exact, [image]) * expected).sum(axis=1)
    assert np.median(1 - (flat * expected).sum(axis=1)) < 0.1 * np.median(lost)
    for name, value in network.state_dict().items():
        assert torch.equal(value, untouched[name])
