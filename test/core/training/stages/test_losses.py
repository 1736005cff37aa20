# ruff: noqa: E402
"""Losses against direct computations."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch.nn import functional

from hfnet_core.training.stages.losses import (
    detector_loss,
    info_nce,
    overlap_info_nce,
    point_info_nce,
    refinement_loss,
    weigh_by_uncertainty,
)


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


def test_refinement_loss_is_what_the_extractor_would_be_off() -> None:
    """A keypoint split over its pixels refines to its true place, and the loss of a wrong place falls by descent."""
    from hfnet_core.features.detection import refine
    from hfnet_core.training.data.labels import soft_labels

    xy = torch.tensor([[10.3, 20.6], [0.0, 31.0]])
    targets = torch.from_numpy(soft_labels(xy.numpy(), (40, 32)))[None]
    logits = (targets + 1e-6).log()
    image, still = torch.zeros(2, dtype=torch.long), torch.zeros(2, 2, dtype=torch.long)
    assert refinement_loss(logits, image, xy, still) < 1e-4
    assert refinement_loss(logits, image, xy, still + 1) < 1e-4  # the window still holds the keypoint

    moved = xy + torch.tensor([0.8, -0.5])
    scores = functional.pixel_shuffle(logits.softmax(1)[:, :-1], 8)[0, 0]
    places = torch.from_numpy(refine(scores.numpy(), moved.round().int().numpy()))
    expected = functional.smooth_l1_loss(places, moved, beta=0.5)
    torch.testing.assert_close(refinement_loss(logits, image, moved, still), expected, rtol=1e-4, atol=1e-5)

    learned = logits.clone().requires_grad_(True)
    before = refinement_loss(learned, image, moved, still)
    (gradient,) = torch.autograd.grad(before, learned)
    assert refinement_loss(logits - 5.0 * gradient, image, moved, still) < 0.95 * before


def test_learned_weights_settle_at_the_logarithm_of_the_losses() -> None:
    losses, weights = torch.tensor([0.5, 2.0]), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        weigh_by_uncertainty(losses, weights).backward()
        optimizer.step()
    torch.testing.assert_close(weights.detach(), losses.log(), rtol=1e-3, atol=1e-3)
