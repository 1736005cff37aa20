# ruff: noqa: E402
"""The global head that pools local descriptors: its arithmetic, its fitting, and as a teacher of the other head."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import ConfigError
from hfnet_core.features.architecture import NetworkSpec, variable_shapes
from hfnet_core.training.checkpoint import save_network
from hfnet_core.training.export import export_checkpoint
from hfnet_core.training.global_data import GlobalDataSettings
from hfnet_core.training.global_stage import GlobalLossSettings, GlobalStage, solve_reduction
from hfnet_core.training.local_vlad import fit_local_vlad
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.pool import Pool, read_gray
from hfnet_core.training.train import RunSettings, run_stage

SPEC = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8, corner_aligned=False)
VIEWS = GlobalDataSettings(places=3, views=2, sizes=((96, 64),), points=8)


def test_vlad_sums_weighted_residuals_to_the_nearest_word() -> None:
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    descriptors = torch.tensor([[[0.8, 0.6], [0.6, 0.8], [0.28, 0.96]]])
    weights = torch.tensor([[1.0, 0.5, 2.0]])
    head = LocalVladHead(2, 3, 4)
    head.words.copy_(words)

    found = head.vlad(descriptors, weights)[0]

    second = 0.5 * (descriptors[0, 1] - words[1]) + 2 * (descriptors[0, 2] - words[1])
    sums = torch.stack([descriptors[0, 0] - words[0], second])
    rooted = sums.sign() * sums.abs().sqrt()
    expected = torch.cat([(rooted / rooted.norm(dim=1, keepdim=True)).flatten() / 2**0.5, torch.zeros(2)])
    torch.testing.assert_close(found, expected)  # a word without descriptors has no part


def test_a_fitted_network_exports_and_comes_back(pool: Pool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = NetworkSpec(local_dim=16, global_dim=24, clusters=4, corner_aligned=False, pool_local=True)
    network = HFNet(spec).eval()
    head = fit_local_vlad(network, pool, words=4, global_dim=24, seed=0)
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
    with pytest.raises(ConfigError, match="no layers 8-18"):
        GlobalStage(pool, VIEWS).prepare(network)


def test_fitted_words_are_centres_and_the_pool_is_centred(pool: Pool) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC).eval()
    head = fit_local_vlad(network, pool, words=4, global_dim=24, seed=0)
    with torch.no_grad():
        projected = [
            head.reduction(head.vlad(*head.points(network.local(_whole_photo(number, pool))))) for number in range(4)
        ]
    torch.testing.assert_close(torch.cat(projected).mean(dim=0), torch.zeros(24), atol=1e-3, rtol=0)


def _whole_photo(number: int, pool: Pool) -> torch.Tensor:
    return torch.from_numpy(read_gray(pool.photos[number].path).copy())[None, None].float()


def test_regression_and_training_bring_the_head_closer_to_it(pool: Pool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = HFNet(SPEC)
    teacher = fit_local_vlad(network, pool, words=4, global_dim=24, seed=0)
    weights = GlobalLossSettings(imitation_weight=10.0, place_weight=0.0, dense_weight=0.0)
    stage = GlobalStage(pool, VIEWS, weights, teacher, "imitation")

    def distance() -> float:
        network.eval()
        with torch.no_grad():
            batches = [stage.batches(1, 4)[step] for step in range(4)]  # views that both have seen
            scale = torch.tensor(1.0)
            return sum(stage.loss(network, scale, batch)[1]["imitation"] for batch in batches) / 4

    untrained = distance()
    solve_reduction(network, stage, teacher, seed=0, batches=10)
    solved = distance()
    assert solved < 0.9 * untrained

    settings = RunSettings(steps=40, learning_rate=4e-3, workers=0, bf16_until=0.0, log_every=5)
    run_stage(stage, network, settings, tmp_path / "run", report=lambda line: None)
    with (tmp_path / "run/log.csv").open() as log:
        rows = [float(row["imitation"]) for row in csv.DictReader(log)]
    assert rows[-1] < 0.9 * rows[0]
