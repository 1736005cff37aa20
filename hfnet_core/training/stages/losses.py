"""Losses of both stages. All take float32 and return scalars."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hfnet_core.features.network.architecture import DETECTOR_CELL

__all__ = [
    "detector_loss",
    "info_nce",
    "keypoint_scores",
    "overlap_info_nce",
    "point_info_nce",
    "refinement_loss",
    "weigh_by_uncertainty",
    "window_centre",
]

_WINDOW = 2  # pixels each way, as the extractor refines keypoints


def detector_loss(logits: Tensor, targets: Tensor, valid: Tensor, location_weight: float) -> Tensor:
    """Soft cross-entropy over the 65 classes, [N, 65, h, w] each, mean over the cells where `valid` [N, h, w].

    It is split into "is there a keypoint" (dustbin against the rest) and "where in the cell", a proper score each;
    the second counts `location_weight` times. With 1 it is the plain 65-way cross-entropy.
    """
    log_dustbin = logits.log_softmax(dim=1)[:, -1]
    log_keypoint = torch.logsumexp(logits[:, :-1], dim=1) - torch.logsumexp(logits, dim=1)
    mass = targets[:, :-1].sum(dim=1)
    existence = -(targets[:, -1] * log_dustbin + mass * log_keypoint)
    location = -(targets[:, :-1] * logits[:, :-1].log_softmax(dim=1)).sum(dim=1)
    weight = valid.to(logits.dtype)
    return ((existence + location_weight * location) * weight).sum() / weight.sum().clamp_min(1.0)


def refinement_loss(logits: Tensor, image: Tensor, xy: Tensor, jitter: Tensor) -> Tensor:
    """How far the extractor's refinement ends from the true keypoints, mean smooth L1 in pixels.

    logits: [N, 65, h, w]; image, xy: the image [M] and pixel [M, 2] of each keypoint; jitter: [M, 2] integers added to
    the pixel the 5x5 window is centred on, since a maximum may lie beside the true place. The window's score-weighted
    centre is differentiable in the scores (as in ALIKE, Zhao et al. 2022).
    """
    if len(xy) == 0:
        return logits.sum() * 0.0
    scores = keypoint_scores(logits)
    limit = torch.tensor([scores.shape[2] - 1, scores.shape[1] - 1], device=xy.device)
    pixel = torch.minimum((xy.round() + jitter).long().clamp_min(0), limit)
    return functional.smooth_l1_loss(window_centre(scores, image, pixel), xy, beta=0.5)


def keypoint_scores(logits: Tensor) -> Tensor:
    """Probability [N, H, W] of each pixel to be a keypoint, of logits [N, 65, H/8, W/8]."""
    return functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], DETECTOR_CELL)[:, 0]


def window_centre(scores: Tensor, image: Tensor, pixel: Tensor) -> Tensor:
    """Where the extractor's refinement puts keypoints [M, 2] found at `pixel` [M, 2] of images [M]: the score-weighted
    centre of the 5x5 pixels around."""
    steps = torch.arange(-_WINDOW, _WINDOW + 1, device=pixel.device)
    rows = pixel[:, 1, None, None] + _WINDOW + steps[None, :, None]
    columns = pixel[:, 0, None, None] + _WINDOW + steps[None, None, :]
    window = functional.pad(scores, (_WINDOW,) * 4)[image[:, None, None], rows, columns]
    total = window.sum(dim=(1, 2)).clamp_min(1e-6)
    shift = torch.stack([window.sum(dim=1) @ steps.float(), window.sum(dim=2) @ steps.float()], dim=1) / total[:, None]
    return pixel + shift


def weigh_by_uncertainty(losses: Tensor, log_variances: Tensor) -> Tensor:
    """Sum of exp(-w) loss + w over the losses [T] with learned w [T].

    Source: Kendall et al., "Multi-task learning using uncertainty to weigh losses", CVPR 2018, as HF-Net uses it.
    """
    return (torch.exp(-log_variances) * losses + log_variances).sum()


def info_nce(similarity: Tensor, ignore: Tensor) -> Tensor:
    """Symmetric InfoNCE of scaled similarities [M, M] with positives on the diagonal; `ignore` [M, M] bool entries
    (never the diagonal) are neither positive nor negative."""
    masked = similarity.masked_fill(ignore, -torch.inf)
    labels = torch.arange(len(similarity), device=similarity.device)
    return 0.5 * (functional.cross_entropy(masked, labels) + functional.cross_entropy(masked.t(), labels))


def point_info_nce(
    first: Tensor, second: Tensor, pair: Tensor, first_xy: Tensor, second_xy: Tensor, scale: Tensor, radius_px: float
) -> Tensor:
    """InfoNCE over the corresponding unit descriptors [M, D] of a whole batch.

    pair: [M] which photo each belongs to; two points of one photo closer than `radius_px` in either crop ([M, 2]
    pixels each) share most of their descriptor and are not each other's negatives. scale: 1 / temperature.
    """
    if len(first) == 0:
        return (first.sum() + second.sum()) * 0.0
    near = torch.minimum(torch.cdist(first_xy, first_xy), torch.cdist(second_xy, second_xy)) < radius_px
    same = pair[:, None] == pair[None, :]
    ignore = near & same & ~torch.eye(len(pair), dtype=torch.bool, device=pair.device)
    return info_nce(scale * (first @ second.t()), ignore)


def overlap_info_nce(
    similarity: Tensor, overlap: Tensor, positive: float, negative: float, memory: Tensor | None = None
) -> Tensor:
    """InfoNCE with several graded positives, for scaled similarities [N, N] of views.

    overlap: [N, N], NaN where unknown. Views overlapping at least `positive` attract, in proportion to their overlap;
    below `negative` they repel; in between, or unknown, they are left out. memory: [N, Q] scaled similarities to
    further negatives (-inf where left out). Views without any positive are left out.
    """
    itself = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    attract = (overlap >= positive) & ~itself
    repel = overlap < negative
    weight = torch.where(attract, overlap, torch.zeros_like(overlap))
    negatives = similarity.masked_fill(~repel, -torch.inf)
    if memory is not None:
        negatives = torch.cat([negatives, memory], dim=1)
    # Each positive competes with all negatives, not with the other positives.
    against = torch.logsumexp(negatives, dim=1, keepdim=True).clamp_min(-1e4)
    losses = torch.logaddexp(similarity, against) - similarity
    return (losses * weight).sum() / weight.sum().clamp_min(1e-6)
