"""What a network's own keypoints teach it, in pairs of crops whose homography is known.

Labels tell where a teacher saw keypoints. Which keypoints this network finds again in another view, and tells apart
from its others, only it can tell: they are found and matched here as they are at run time, and the outcome is learned.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.network import LocalMaps, sample_descriptors
from hfnet_core.training.stages.losses import keypoint_scores, window_centre

__all__ = ["Found", "OwnLosses", "find", "own_losses"]

_RADIUS = 4  # of non-maximum suppression, as the extractor has it by default
_BORDER_PX = 4  # what is nearer to a crop's border is seen in part only
_LEAST = 1e-4  # gathered score of a keypoint
_RIGHT_PX = (1.0, 3.0, 5.0)  # a match counts by how many of these it meets, as matching accuracy does
_SAME_PX, _OTHER_PX = 2.0, 6.0  # keypoints this close are the same place; beyond, another one


class Found(NamedTuple):
    """The strongest keypoints of each crop. xy: [N, K, 2] below the pixel; score: [N, K], that of the pixels around
    gathered; both with gradients. real: [N, K] bool, where there was a keypoint left to find."""

    xy: Tensor
    score: Tensor
    real: Tensor


class OwnLosses(NamedTuple):
    """matchability: cross-entropy between a keypoint's score and how right its match is; descriptor: InfoNCE of a
    keypoint and the same one in the other crop, against all others there; consistency: smooth L1 in pixels between the
    places of both. repeated: share of the visible keypoints that the other crop has too; right: share of the matches
    within 3 px. Without any pair the losses are 0."""

    matchability: Tensor
    descriptor: Tensor
    consistency: Tensor
    repeated: float
    right: float


def find(logits: Tensor, valid: Tensor, count: int) -> Found:
    """The `count` strongest keypoints of each crop, as the extractor finds them first: maxima of their surroundings.

    logits: [N, 65, h, w] float32; valid: [N, h, w] bool, cells that show the photo.
    """
    scores = keypoint_scores(logits)
    images, _, width = scores.shape
    with torch.no_grad():
        gathered = _gathered(scores)
        side = 2 * _RADIUS + 1
        highest = functional.max_pool2d(gathered[:, None], (side, 1), 1, (_RADIUS, 0))
        highest = functional.max_pool2d(highest, (1, side), 1, (0, _RADIUS))[:, 0]
        shown = valid.repeat_interleave(DETECTOR_CELL, 1).repeat_interleave(DETECTOR_CELL, 2)
        inner = torch.zeros_like(shown)
        inner[:, _BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = True
        maxima = torch.where((gathered == highest) & shown & inner, gathered, -1.0)
        value, index = maxima.flatten(1).topk(count, dim=1)
        pixel = torch.stack([index % width, index // width], dim=2)
    image = torch.arange(images, device=logits.device)[:, None].expand(images, count)
    xy = window_centre(scores, image.flatten(), pixel.flatten(0, 1)).view(images, count, 2)
    return Found(xy, _gathered_at(scores, image, pixel), value > _LEAST)


def own_losses(maps: LocalMaps, valid: Tensor, second_from_first: Tensor, scale: Tensor, count: int) -> OwnLosses:
    """Find, describe and match the keypoints of crops 2i and 2i+1.

    maps: of 2B crops, float32; valid: [2B, h, w]; second_from_first: [B, 3, 3], NaN where it is not known: such pairs
    teach nothing here. scale: 1 / temperature. Sources: the match as the score's target is the reliability of R2D2
    (Revaud et al., 2019), the places' consistency the reprojection loss of ALIKED (Zhao et al., 2023).
    """
    found = find(maps.logits, valid, count)
    image = torch.arange(len(valid), device=valid.device)[:, None].expand(-1, count).flatten()
    descriptors = sample_descriptors(maps.descriptors, image, found.xy.detach().flatten(0, 1))
    first, second = descriptors.view(len(valid) // 2, 2, count, -1).unbind(1)
    pair = _Pair.of(found, valid, second_from_first)
    similarity = first @ second.transpose(1, 2)
    score = torch.cat([found.score[0::2][pair.seen_first], found.score[1::2][pair.seen_second]]).clamp(1e-4, 1 - 1e-4)
    if not len(score):
        nothing = maps.logits.sum() * 0.0 + maps.descriptors.sum() * 0.0
        return OwnLosses(nothing, nothing, nothing, 0.0, 0.0)
    worth, right = pair.outcome(similarity.detach())
    matchability = functional.binary_cross_entropy(score, worth)
    which, one, other = pair.same()
    descriptor = consistency = similarity.sum() * 0.0
    if len(which):
        descriptor = _info_nce(scale * similarity, pair, which, one, other)
        there, back = found.xy[0::2][which, one], found.xy[1::2][which, other]
        consistency = 0.5 * (
            functional.smooth_l1_loss(_warp(pair.forward[which], there[:, None])[:, 0], back, beta=0.5)
            + functional.smooth_l1_loss(_warp(pair.backward[which], back[:, None])[:, 0], there, beta=0.5)
        )
    repeated = len(which) / max(int(pair.seen_first.sum()), 1)
    return OwnLosses(matchability, descriptor, consistency, repeated, right)


class _Pair(NamedTuple):
    """B pairs of crops with K keypoints each. forward, backward: [B, 3, 3]; seen_*: [B, K], keypoints whose place the
    other crop shows; distance: [B, K, K] pixels between keypoints of both crops, in the second; apart: the larger of
    that and the same in the first; real: [B, K, K]."""

    forward: Tensor
    backward: Tensor
    seen_first: Tensor
    seen_second: Tensor
    distance: Tensor
    apart: Tensor
    real: Tensor

    @classmethod
    def of(cls, found: Found, valid: Tensor, second_from_first: Tensor) -> _Pair:
        known = torch.isfinite(second_from_first).all(dim=2).all(dim=1)
        forward = torch.where(known[:, None, None], second_from_first, torch.eye(3, device=valid.device))
        backward = torch.linalg.inv(forward)
        xy = found.xy.detach()
        first, second = xy[0::2], xy[1::2]
        there, back = _warp(forward, first), _warp(backward, second)
        distance = torch.cdist(there, second)
        real = found.real[0::2, :, None] & found.real[1::2, None, :]
        return cls(
            forward,
            backward,
            _shown(there, valid[1::2]) & found.real[0::2] & known[:, None],
            _shown(back, valid[0::2]) & found.real[1::2] & known[:, None],
            distance,
            torch.maximum(distance, torch.cdist(first, back)).masked_fill(~real, torch.inf),
            real,
        )

    def outcome(self, similarity: Tensor) -> tuple[Tensor, float]:
        """Of the visible keypoints of the first crops, then of the second: how right the mutual match is, 0..1; and
        the share of the matches within 3 px."""
        similarity = similarity.masked_fill(~self.real, -2.0)
        there, back = similarity.argmax(dim=2), similarity.argmax(dim=1)
        itself = torch.arange(similarity.shape[1], device=similarity.device)
        mutual_first, mutual_second = back.gather(1, there) == itself, there.gather(1, back) == itself
        error_first = self.distance.gather(2, there[:, :, None])[:, :, 0]
        error_second = self.distance.gather(1, back[:, None, :])[:, 0]
        worth = [
            (mutual * torch.stack([error <= limit for limit in _RIGHT_PX]).float().mean(dim=0))[seen]
            for mutual, error, seen in (
                (mutual_first, error_first, self.seen_first),
                (mutual_second, error_second, self.seen_second),
            )
        ]
        matches = mutual_first & self.seen_first
        right = float((error_first[matches] <= _RIGHT_PX[1]).float().mean()) if bool(matches.any()) else 0.0
        return torch.cat(worth), right

    def same(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pair, keypoint of the first crop and keypoint of the second, where both are the same place."""
        nearest = self.apart.min(dim=2)
        back = self.apart.argmin(dim=1).gather(1, nearest.indices)
        mutual = back == torch.arange(back.shape[1], device=back.device)
        which, one = (mutual & (nearest.values <= _SAME_PX) & self.seen_first).nonzero(as_tuple=True)
        return which, one, nearest.indices[which, one]


def _info_nce(similarity: Tensor, pair: _Pair, which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Symmetric; keypoints between _SAME_PX and _OTHER_PX are neither the same nor another."""
    ignored = (pair.apart < _OTHER_PX) | ~pair.real
    truth = similarity[which, one, other][:, None]
    rows = similarity[which, one].masked_fill(ignored[which, one], -torch.inf).scatter(1, other[:, None], truth)
    columns = similarity[which, :, other].masked_fill(ignored[which, :, other], -torch.inf)
    columns = columns.scatter(1, one[:, None], truth)
    return 0.5 * (functional.cross_entropy(rows, other) + functional.cross_entropy(columns, one))


def _gathered(scores: Tensor) -> Tensor:
    """Scores [N, H, W] with those of the neighbours by half, as the extractor ranks keypoints."""
    padded = functional.pad(scores, (1, 1, 1, 1))
    across = padded[:, :, 1:-1] + 0.5 * (padded[:, :, :-2] + padded[:, :, 2:])
    return across[:, 1:-1] + 0.5 * (across[:, :-2] + across[:, 2:])


def _gathered_at(scores: Tensor, image: Tensor, pixel: Tensor) -> Tensor:
    """The same at pixels [N, K, 2] only: gradients of whole images would cost more than all else here."""
    steps = torch.arange(-1, 2, device=scores.device)
    half = torch.tensor([0.5, 1.0, 0.5], device=scores.device)
    rows, columns = pixel[:, :, 1, None, None] + 1 + steps[:, None], pixel[:, :, 0, None, None] + 1 + steps
    window = functional.pad(scores, (1, 1, 1, 1))[image[:, :, None, None], rows, columns]
    return (window * half[:, None] * half).sum(dim=(2, 3))


def _warp(homography: Tensor, xy: Tensor) -> Tensor:
    """Points [B, K, 2] through [B, 3, 3]; those behind the camera go far away."""
    mapped = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=2) @ homography.transpose(1, 2)
    depth = mapped[..., 2:]
    return torch.where(depth > 1e-6, mapped[..., :2] / depth.clamp_min(1e-6), torch.full_like(xy, -1e4))


def _shown(xy: Tensor, valid: Tensor) -> Tensor:
    """Which of [B, K, 2] lie where a crop shows the photo, [B, K]; valid: [B, h, w]."""
    rows, columns = valid.shape[1:]
    size = torch.tensor([columns, rows], device=xy.device) * DETECTOR_CELL
    inside = ((xy >= _BORDER_PX) & (xy <= size - 1 - _BORDER_PX)).all(dim=2)
    cell = torch.minimum((xy / DETECTOR_CELL).long().clamp_min(0), size // DETECTOR_CELL - 1)
    itself = torch.arange(len(xy), device=xy.device)[:, None]
    return inside & valid[itself, cell[..., 1], cell[..., 0]]
