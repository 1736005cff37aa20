"""Fitting the global head that pools local descriptors: words and projection from the pool, without gradients.

Source: Jegou et al., "Aggregating local image descriptors into compact codes", PAMI 2012.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from hfnet_core.features.architecture import DETECTOR_CELL
from hfnet_core.training.network import HFNet, LocalVladHead
from hfnet_core.training.pool import Pool, read_gray

__all__ = ["fit_local_vlad"]

_SAMPLES_PER_PHOTO = 60
_ITERATIONS = 20
_NOISE = 1e-3  # directions with a smaller share of the largest singular value are left out
_WHITENING = 0.5  # power of the singular values divided out: 0 is plain PCA, 1 is full whitening


@torch.no_grad()
def fit_local_vlad(network: HFNet, pool: Pool, *, words: int, global_dim: int, seed: int) -> LocalVladHead:
    """Words by k-means over descriptors of all photos of the pool, drawn by their probability of being a keypoint;
    then PCA with partial whitening of the photos' VLADs."""
    generator = torch.Generator().manual_seed(seed)
    stored, samples = [], []
    for layer_7 in _features(network, pool):
        maps = network.local_heads(layer_7)
        values, weights = LocalVladHead.points(maps)
        chosen = torch.multinomial(weights[0].cpu(), _SAMPLES_PER_PHOTO, replacement=True, generator=generator)
        samples.append(values[0, chosen.to(values.device)])
        stored.append((values.half(), weights.half()))
    head = LocalVladHead(network.spec.local_dim, words, global_dim).to(samples[0].device)
    head.words.copy_(_k_means(torch.cat(samples), words, generator))
    vlads = torch.cat([head.vlad(values.float(), weights.float()) for values, weights in stored])
    mean = vlads.mean(dim=0)
    _, singular, directions = torch.linalg.svd(vlads - mean, full_matrices=False)
    useful = singular[:global_dim] > _NOISE * singular[0]
    projection = torch.zeros_like(head.reduction.weight)  # fewer photos than dimensions: zeros remain
    kept = torch.nonzero(useful)[:, 0]
    projection[kept] = directions[kept] * singular[kept, None] ** -_WHITENING
    projection /= projection.norm(dim=1).max()
    head.reduction.weight.copy_(projection)
    head.reduction.bias.copy_(-(projection @ mean))
    return head.eval()


def _features(network: HFNet, pool: Pool) -> Iterator[Tensor]:
    network.eval()
    device = network.stem.conv.weight.device
    for photo in pool.photos:
        image = read_gray(photo.path)
        height, width = (side - side % DETECTOR_CELL for side in image.shape)
        tensor = torch.from_numpy(image[:height, :width].copy())[None, None].to(device).float()
        yield network.layer_7(tensor.contiguous(memory_format=torch.channels_last))


def _k_means(samples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    words = samples[torch.randperm(len(samples), generator=generator)[:count]].clone()
    for _ in range(_ITERATIONS):
        nearest = torch.cdist(samples, words).argmin(dim=1)
        for number in range(len(words)):
            members = samples[nearest == number]
            if len(members):
                words[number] = members.mean(dim=0)
    return words
