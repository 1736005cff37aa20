# ruff: noqa: E402
"""Losses against direct computations."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch.nn import functional

from hfnet_core.training.losses import detector_loss, info_nce, overlap_info_nce, point_info_nce


def test_detector_loss_is_the_plain_cross_entropy_at_weight_one() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 65, 3, 4), torch.rand(2, 65, 3, 4).softmax(1)
    valid = torch.ones(2, 3, 4, dtype=torch.bool)
    valid[0, 0, 0] = False
    expected = -(targets * logits.log_softmax(1)).sum(1)[valid].mean()
    torch.testing.assert_close(detector_loss(logits, targets, valid, 1.0), expected)


def test_detector_loss_without_a_valid_cell_is_zero() -> None:
    logits = torch.randn(1, 65, 2, 2, requires_grad=True)
    loss = detector_loss(logits, torch.ones(1, 65, 2, 2) / 65, torch.zeros(1, 2, 2, dtype=torch.bool), 2.0)
    loss.backward()
    assert loss == 0 and torch.isfinite(logits.grad).all()


def test_info_nce_leaves_out_what_is_ignored() -> None:
    similarity = torch.tensor([[5.0, 9.0, 1.0], [9.0, 5.0, 1.0], [1.0, 1.0, 5.0]])
    ignore = torch.zeros(3, 3, dtype=torch.bool)
    ignore[0, 1] = ignore[1, 0] = True
    expected = functional.cross_entropy(
        torch.tensor([[5.0, -torch.inf, 1.0], [-torch.inf, 5.0, 1.0], [1.0, 1.0, 5.0]]), torch.arange(3)
    )
    torch.testing.assert_close(info_nce(similarity, ignore), expected)


def test_points_without_correspondence_give_a_zero_loss_with_gradient() -> None:
    empty = torch.zeros(0, 8, requires_grad=True)
    loss = point_info_nce(
        empty, empty, torch.zeros(0, dtype=torch.long), torch.zeros(0, 2), torch.zeros(0, 2), torch.tensor(20.0), 6.0
    )
    loss.backward()
    assert loss == 0


def test_overlapping_views_attract_and_unknown_ones_are_left_out() -> None:
    descriptors = functional.normalize(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), dim=1)
    overlap = torch.tensor(
        [[1.0, 0.8, 0.0, float("nan")], [0.8, 1, 0.05, 0.3], [0.0, 0.05, 1, 0.3], [float("nan"), 0.3, 0.3, 1]]
    )
    similarity = 10 * descriptors @ descriptors.t()
    # Rows 0 and 1 have a positive, their only negative is view 2; rows 2 and 3 have none.
    expected = 0.5 * (
        functional.cross_entropy(similarity[0, [1, 2]][None], torch.tensor([0]))
        + functional.cross_entropy(similarity[1, [0, 2]][None], torch.tensor([0]))
    )
    torch.testing.assert_close(overlap_info_nce(similarity, overlap, 0.4, 0.15), expected)


def test_overlap_info_nce_without_negatives_is_finite() -> None:
    similarity = torch.ones(2, 2, requires_grad=True)
    loss = overlap_info_nce(similarity * 1.0, torch.ones(2, 2), 0.4, 0.15)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(similarity.grad).all()
