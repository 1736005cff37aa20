# ruff: noqa: E402
"""Own keypoints: found as the extractor finds them, and taught by what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor
from torch.nn import functional

from hfnet_core.errors import ConfigError
from hfnet_core.features.detection import detect, gather, refine
from hfnet_core.training.network import LocalMaps, l2_normalize
from hfnet_core.training.stages.local_stage import LocalLossSettings
from hfnet_core.training.stages.losses import keypoint_scores
from hfnet_core.training.stages.own_keypoints import find, own_losses

CELLS, COUNT = 12, 24
SCALE = torch.tensor(20.0)


def maps(seed: int, crops: int = 1) -> LocalMaps:
    """A few keypoints in each crop, and descriptors that differ from cell to cell."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(crops, 65, CELLS, CELLS, generator=generator)
    logits[:, 64] += 4 + 2 * torch.randn(crops, CELLS, CELLS, generator=generator)
    descriptors = l2_normalize(torch.randn(crops, 32, CELLS, CELLS, generator=generator), dim=1)
    return LocalMaps(logits, descriptors)


def pairs(first: LocalMaps, second: LocalMaps) -> LocalMaps:
    """One pair of crops."""
    return LocalMaps(*(torch.cat(both).detach().requires_grad_() for both in zip(first, second, strict=True)))


def moved(of: LocalMaps, cells: int) -> LocalMaps:
    """What a camera sees that looks further left: everything so many cells to the right."""
    return LocalMaps(*(value.roll(cells, dims=3) for value in of))


def valid(crops: int = 2) -> Tensor:
    return torch.ones(crops, CELLS, CELLS, dtype=torch.bool)


def shift(px: float) -> Tensor:
    homography = torch.eye(3)[None].clone()
    homography[0, 0, 2] = px
    return homography


def test_keypoints_are_those_of_the_extractor() -> None:
    logits = maps(0).logits
    found = find(logits, valid(1), COUNT)
    scores = keypoint_scores(logits)[0].numpy()
    gathered = gather(scores)
    pixels, values = detect(gathered, 4, 1e-4, 1000)
    inner = ((pixels >= 4) & (pixels < 8 * CELLS - 4)).all(axis=1)
    expected = refine(scores, pixels[inner])

    assert bool(found.real.all())
    for xy, score in zip(found.xy[0].numpy(), found.score[0].numpy(), strict=True):
        nearest = np.linalg.norm(expected - xy, axis=1).argmin()
        np.testing.assert_allclose(expected[nearest], xy, atol=1e-3)
        assert score == pytest.approx(values[inner][nearest], rel=1e-4)
    assert found.score[0, 0] == pytest.approx(values[inner][0], rel=1e-4)


def test_nothing_is_found_where_a_crop_shows_no_photo() -> None:
    shown = valid(1)
    shown[:, :, CELLS // 2 :] = False
    found = find(maps(0).logits, shown, COUNT)
    assert (found.xy[found.real][:, 0] < 4 * CELLS + 2).all()
    dark = find(maps(0).logits, torch.zeros_like(shown), COUNT)
    assert not dark.real.any()


def test_a_view_of_the_same_matches_itself() -> None:
    one = maps(1)
    with torch.no_grad():
        found = own_losses(pairs(one, moved(one, 2)), valid(), shift(16.0), SCALE, COUNT)
    assert found.repeated > 0.9  # a border hides what lay at the edge
    assert found.right > 0.9
    assert float(found.consistency) < 1e-3
    with torch.no_grad():
        unrelated = own_losses(pairs(one, maps(2)), valid(), shift(16.0), SCALE, COUNT)
    assert unrelated.repeated < 0.5
    assert unrelated.right < 0.3
    assert float(unrelated.matchability) > float(found.matchability)


def test_the_homography_decides_what_is_right() -> None:
    one = maps(1)
    wrong = own_losses(pairs(one, moved(one, 2)), valid(), shift(-16.0), SCALE, COUNT)
    assert wrong.right < 0.2


def test_scores_learn_which_keypoints_match() -> None:
    """Of two kinds of keypoints, those whose descriptors are all alike match nothing: their scores fall."""
    one = maps(3)
    alike = one.descriptors.clone()
    alike[:, :, : CELLS // 2] = alike[:, :, :1, :1]  # the upper half
    one = LocalMaps(one.logits, alike)
    logits = torch.cat([one.logits, one.logits]).requires_grad_()
    descriptors = torch.cat([one.descriptors, one.descriptors])
    before = find(logits[:1].detach(), valid(1), COUNT)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(40):
        optimizer.zero_grad()
        own_losses(LocalMaps(logits, descriptors), valid(), shift(0.0), SCALE, COUNT).matchability.backward()
        optimizer.step()
    after = find(logits[:1].detach(), valid(1), COUNT)

    def upper(found: object) -> float:
        return float((found.score * (found.xy[..., 1] < 4 * CELLS)).sum() / found.score.sum())  # type: ignore[attr-defined]

    assert upper(before) > 0.3
    assert upper(after) < 0.5 * upper(before)


def test_descriptors_of_one_place_attract_and_others_repel() -> None:
    one = maps(4)
    other = LocalMaps(one.logits, l2_normalize(one.descriptors + 0.8 * maps(5).descriptors, dim=1))
    both = pairs(one, other)
    found = own_losses(both, valid(), shift(0.0), SCALE, COUNT)
    found.descriptor.backward()
    assert both.descriptors.grad is not None
    better = LocalMaps(both.logits, l2_normalize(both.descriptors.detach() - 2.0 * both.descriptors.grad, dim=1))
    assert float(own_losses(better, valid(), shift(0.0), SCALE, COUNT).descriptor) < float(found.descriptor.detach())


def test_places_of_both_views_move_together() -> None:
    one = maps(6)
    other = LocalMaps(one.logits + 0.5 * maps(7).logits, one.descriptors)
    logits = torch.cat([one.logits, other.logits]).requires_grad_()
    descriptors = torch.cat([one.descriptors, other.descriptors])
    optimizer, distances = torch.optim.SGD([logits], lr=2.0), []
    for _ in range(30):
        optimizer.zero_grad()
        found = own_losses(LocalMaps(logits, descriptors), valid(), shift(0.0), SCALE, COUNT)
        found.consistency.backward()
        optimizer.step()
        distances.append(float(found.consistency.detach()))
    assert distances[0] > 0.005
    assert distances[-1] < 0.7 * distances[0]


def test_pairs_of_two_photos_teach_nothing_here() -> None:
    both = pairs(maps(8), maps(8))
    found = own_losses(both, valid(), torch.full((1, 3, 3), torch.nan), SCALE, COUNT)
    (found.matchability + found.descriptor + found.consistency).backward()
    assert (found.repeated, found.right) == (0.0, 0.0)
    assert both.logits.grad is not None
    assert not functional.relu(both.logits.grad.abs()).any()


def test_own_keypoints_need_learned_weights() -> None:
    with pytest.raises(ConfigError, match="learned"):
        LocalLossSettings(own_keypoints=8)
