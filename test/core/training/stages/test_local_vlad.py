# ruff: noqa: E402
"""The global head that pools local descriptors: its arithmetic, its fitting, and as a teacher of the other head."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import onnx
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import ConfigError
from hfnet_core.features.network.architecture import WORD_TEMPERATURE, NetworkSpec, variable_shapes
from hfnet_core.training.checkpoint import save_network
from hfnet_core.training.data.global_data import GlobalBatches, GlobalDataSettings
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.export import export_checkpoint
from hfnet_core.training.network import HFNet, LocalMaps, LocalVladHead
from hfnet_core.training.stages.global_stage import GlobalLossSettings, GlobalStage, solve_reduction
from hfnet_core.training.stages.layer_features import LayerFeatures
from hfnet_core.training.stages.local_vlad import _discriminant, _principal, _views, fit_local_vlad
from hfnet_core.training.stages.loop import Learned, RunSettings, run_stage
from hfnet_core.training.stages.parts import Parts

SPEC = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8, corner_aligned=False)
VIEWS = GlobalDataSettings(places=3, views=2, sizes=((96, 64),), points=8)


def test_vlad_sums_weighted_residuals_to_the_words_nearby() -> None:
    head = LocalVladHead(dataclasses.replace(SPEC, local_dim=3, clusters=3, intermediate_dim=2, pool_local=True))
    head.projection.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    head.words.copy_(torch.tensor([[1.0, 0.0], [0.98, 0.04], [-1.0, 0.0]]))
    descriptors = torch.tensor([[[0.9, 0.1, 7.0], [0.95, -0.2, -7.0]]])
    weights = torch.tensor([[1.0, 0.5]])

    found = head.vlad(descriptors, weights)[0]

    points = descriptors[0, :, :2]
    nearness = torch.exp(-(points[:, None] - head.words).square().sum(dim=2) / 2 / WORD_TEMPERATURE)
    shares = nearness / nearness.sum(dim=1, keepdim=True)
    assert 0.1 < float(shares[0, 0]) < 0.9  # between two words
    sums = sum(
        weight * share[:, None] * (point - head.words)
        for point, share, weight in zip(points, shares, weights[0], strict=True)
    )
    assert isinstance(sums, torch.Tensor)
    expected = torch.cat([(sums[:2] / sums[:2].norm(dim=1, keepdim=True)).flatten() / 2**0.5, torch.zeros(2)])
    torch.testing.assert_close(found, expected)  # a word without descriptors has no part


def test_a_fitted_network_exports_and_comes_back(pool: Pool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = dataclasses.replace(SPEC, pool_local=True)
    network = HFNet(spec).eval()
    head = fit_local_vlad(network, pool, words=4, word_dim=8, global_dim=24, seed=0)
    network.global_head.load_state_dict(head.state_dict())
    variables = network.variables()
    assert {name: value.shape for name, value in variables.items()} == variable_shapes(spec)
    again = HFNet(spec).eval()
    again.load_variables(variables)

    image = torch.rand(2, 1, 64, 96) * 255
    with torch.inference_mode():
        found, expected = again(image)[1], network(image)[1]
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, 24)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))

    save_network(network, tmp_path / "trained.pt")
    parity = export_checkpoint(
        tmp_path / "trained.pt", tmp_path / "model.onnx", name="tiny", version="0", licence="Apache-2.0"
    )
    assert parity.worst < 1e-4
    stored = {constant.name: constant for constant in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert stored["global_head/dimensionality_reduction/weights"].data_type == onnx.TensorProto.FLOAT16
    with pytest.raises(ConfigError, match="no layers 8-18"):
        GlobalStage(LayerFeatures(tmp_path, 1)).prepare(network)


def test_the_projection_is_centred_over_photos_and_fills_what_they_span(pool: Pool) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC).eval()
    head = fit_local_vlad(network, pool, words=4, word_dim=8, global_dim=24, seed=0)
    with torch.no_grad():
        projected = torch.cat([head.reduction(head.vlad(*head.points(maps))) for maps in _views(network, pool, 0)])
    assert len(projected) == 2 * len(pool.photos)
    torch.testing.assert_close(projected.mean(dim=0), torch.zeros(24), atol=1e-3, rtol=0)
    kept = int(head.reduction.weight.any(dim=1).sum())
    assert 3 < kept < 8  # eight centred views span seven directions
    assert not head.reduction.weight[kept:].any()


def test_what_differs_within_places_counts_less_and_what_differs_between_them_more() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(200, 6, generator=generator) * torch.tensor([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])
    noise = torch.randn(200, 6, generator=generator) * torch.tensor([1.5, 0.05, 0.05, 0.05, 0.05, 0.05])
    projection = _discriminant(torch.cat([places + noise, places - noise]), 2 * noise, 4)
    assert projection.shape == (4, 6)
    gain = projection.norm(dim=0)
    assert gain[0] < 0.5 * gain[1:3].min()

    def separation(rows: torch.Tensor) -> float:
        return float((rows - rows.mean(dim=0)).square().sum() / (noise @ projection.t()).square().sum())

    plain = places.square().sum() / noise.square().sum()
    assert separation(places @ projection.t()) > 2 * float(plain)


def test_photos_that_never_differ_give_their_principal_directions() -> None:
    rows = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    found = _discriminant(rows, torch.zeros(5, 6), 3)
    directions, _ = _principal(rows, 3)
    torch.testing.assert_close(found.abs(), directions.abs(), rtol=1e-4, atol=1e-4)


def test_rooms_change_the_projection_only(pool: Pool) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC).eval()
    without, with_rooms, again = (
        fit_local_vlad(network, pool, words=4, word_dim=8, global_dim=24, seed=0, rooms=n) for n in (0, 1, 1)
    )
    assert torch.equal(without.words, with_rooms.words)
    assert torch.equal(with_rooms.reduction.weight, again.reduction.weight)
    assert int(with_rooms.reduction.weight.any(dim=1).sum()) > int(without.reduction.weight.any(dim=1).sum())


def test_an_interrupted_fit_goes_on_and_a_finished_one_is_read(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC).eval()

    def fitted(parts: Parts | None) -> LocalVladHead:
        return fit_local_vlad(network, pool, words=4, word_dim=8, global_dim=24, seed=0, rooms=2, parts=parts)

    whole, folder = fitted(None), tmp_path / "parts"
    looked_at: list[int] = []
    look = network.local

    def interrupted(image: torch.Tensor) -> LocalMaps:
        looked_at.append(1)
        if len(looked_at) == 13:  # two views of four photos for the words, then the VLADs
            raise KeyboardInterrupt
        return look(image)

    monkeypatch.setattr(network, "local", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(Parts(folder))
    assert [path.name for path in folder.iterdir()] == ["samples_0.pt"]
    monkeypatch.setattr(network, "local", look)
    resumed = fitted(Parts(folder))
    monkeypatch.setattr(network, "local", None)  # nothing is asked of the network any more
    again = fitted(Parts(folder))
    for head in (resumed, again):
        for name, value in whole.state_dict().items():
            assert torch.equal(head.state_dict()[name], value), name


def test_the_other_view_is_another_one_and_repeats(pool: Pool) -> None:
    network = HFNet(SPEC).eval()

    def logits(seed: int) -> list[torch.Tensor]:
        with torch.no_grad():
            return [maps.logits for maps in _views(network, pool, seed)]

    first, again, other = logits(0), logits(0), logits(1)
    assert not torch.allclose(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("shape", [(6, 40), (40, 6)])
def test_principal_directions_are_those_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    directions, singular = _principal(rows, 4)
    _, expected, right = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(singular, expected[:4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((directions * right[:4]).sum(dim=1).abs(), torch.ones(4), rtol=1e-4, atol=1e-4)


def test_regression_and_training_bring_the_head_closer_to_it(pool: Pool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC)
    teacher = fit_local_vlad(network, pool, words=4, word_dim=8, global_dim=24, seed=0)
    weights = GlobalLossSettings(imitation_weight=10.0, place_weight=0.0, dense_weight=0.0)
    features = LayerFeatures(tmp_path / "features", 10)
    features.fill(network, GlobalBatches(pool, VIEWS, 1, 10), teacher)
    stage = GlobalStage(features, weights, "imitation")

    def distance() -> float:
        network.eval()
        with torch.no_grad():
            batches = [stage.batches(1, 4)[step] for step in range(4)]  # views that both have seen
            learned = Learned(torch.tensor(1.0), torch.zeros(stage.tasks))
            return sum(stage.loss(network, learned, batch)[1]["imitation"] for batch in batches) / 4

    untrained = distance()
    solve_reduction(network, stage, seed=0, batches=10)
    solved = distance()
    assert solved < 0.9 * untrained

    settings = RunSettings(steps=40, learning_rate=4e-3, workers=0, bf16_until=0.0, log_every=5)
    run_stage(stage, network, settings, tmp_path / "run", report=lambda line: None)
    with (tmp_path / "run/log.csv").open() as log:
        rows = [float(row["imitation"]) for row in csv.DictReader(log)]
    assert rows[-1] < 0.9 * rows[0]
