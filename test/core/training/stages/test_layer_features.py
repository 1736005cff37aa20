# ruff: noqa: E402
"""Features of the global stage's views are what the network gives, made once, and all of them are used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.errors import DatasetError
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.data.global_data import GlobalBatch, GlobalBatches, GlobalDataSettings
from hfnet_core.training.data.pool import Pool
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.stages.layer_features import LayerFeatures

SPEC = NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8, corner_aligned=False)
VIEWS = GlobalDataSettings(places=2, views=2, sizes=((96, 64),), points=8)


@pytest.fixture
def network() -> HFNet:
    torch.manual_seed(0)
    return HFNet(SPEC).eval()


@pytest.fixture
def teacher() -> LocalVladHead:
    torch.manual_seed(1)
    return LocalVladHead(dataclasses.replace(SPEC, pool_local=True))


def test_they_are_what_network_and_teacher_make_of_the_views(
    pool: Pool, tmp_path: Path, network: HFNet, teacher: LocalVladHead
) -> None:
    source = GlobalBatches(pool, VIEWS, 5, 1)
    features = LayerFeatures(tmp_path / "features", 1)
    features.fill(network, source, teacher)
    expected, found = source[0], features.batches(0, 9)[3]
    with torch.no_grad():
        layer_7 = network.layer_7(expected.images.float())
        targets = teacher(network.local_heads(layer_7))
    torch.testing.assert_close(found.layer_7.float(), layer_7, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.targets, targets)
    for name in ("group", "a_view", "b_xy"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


def test_each_turn_uses_all_of_them_in_another_order(
    pool: Pool, tmp_path: Path, network: HFNet, teacher: LocalVladHead
) -> None:
    features = LayerFeatures(tmp_path / "features", 5)
    features.fill(network, GlobalBatches(pool, VIEWS, 5, 5), teacher)
    batches = features.batches(seed=2, length=15)
    orders = [[float(batches[turn + step].layer_7.float().sum()) for step in range(5)] for turn in (0, 5, 10)]
    assert len(set(orders[0])) == 5
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert not orders[0] == orders[1] == orders[2]


def test_an_interrupted_pass_goes_on_and_a_damaged_file_is_named(
    pool: Pool, tmp_path: Path, network: HFNet, teacher: LocalVladHead
) -> None:
    source, asked = GlobalBatches(pool, VIEWS, 5, 4), []

    class Counted(torch.utils.data.Dataset[GlobalBatch]):
        def __getitem__(self, number: int) -> GlobalBatch:
            asked.append(number)
            if number == 2 and len(asked) == 3:
                raise KeyboardInterrupt
            return source[number]

    features = LayerFeatures(tmp_path / "features", 4)
    with pytest.raises(KeyboardInterrupt):
        features.fill(network, Counted(), teacher)
    features.fill(network, Counted(), teacher)
    assert asked == [0, 1, 2, 2, 3]
    for path in (tmp_path / "features").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"batch_0000\d\.pt is damaged .*: delete it"):
        features.batches(0, 1)[0]
