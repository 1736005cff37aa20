"""Fitting the global head that pools local descriptors: words and projection from the pool, without gradients.

Sources: Jegou et al., "Aggregating local image descriptors into compact codes", PAMI 2012; whitening by pairs that
match: Mikolajczyk & Matas, "Improving descriptors for fast tree matching by optimal linear projection", ICCV 2007.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hfnet_core.features.network.architecture import DETECTOR_CELL
from hfnet_core.training.data.augmentation import CropRange, photometric, random_homography, warp_image
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.rooms import render_room
from hfnet_core.training.network import HFNet, LocalMaps, LocalVladHead
from hfnet_core.training.stages.parts import Parts

__all__ = ["fit_local_vlad", "k_means"]

_SAMPLES_PER_VIEW = 60
_ITERATIONS = 20
_NOISE = 1e-3  # directions with a smaller share of the largest singular value are left out
_RIDGE = 1.0  # added to the variances within places, in units of their mean: keeps rare directions from dominating
_SAME_PLACE = 0.4  # overlap from which two views of a room count as one place
_ROOM_VIEWS = 14
_OTHER_VIEW = CropRange(scale=(0.8, 1.5), rotation_deg=45.0, perspective=0.12, tilt=1.5)
_SEEDS = 1_000_003  # seeds of one run are this far from those of another
_SHIFT = 0.25  # of the other view's middle, in image sides


@torch.no_grad()
def fit_local_vlad(
    network: HFNet,
    pool: Pool,
    *,
    words: int,
    word_dim: int,
    global_dim: int,
    seed: int,
    rooms: int = 0,
    parts: Parts | None = None,
) -> LocalVladHead:
    """A head for the network's descriptors, from descriptors of all photos of the pool, drawn by their probability of
    being a keypoint: their principal directions, and words by k-means among them; then a projection of the VLADs that
    whitens what differs between views of one place and keeps the principal directions of the rest.

    Views of one place are a photo and a warped, noisy view of it, and overlapping views of `rooms` rendered rooms. The
    projection is rounded to half precision, in which a model file stores it. parts: keeps what is done of it.
    """
    parts, count = parts or Parts(), len(pool.photos)
    spec = dataclasses.replace(
        network.spec, clusters=words, intermediate_dim=word_dim, global_dim=global_dim, pool_local=True
    )
    device = network.stem.conv.weight.device
    head, finished = LocalVladHead(spec).to(device), parts.read("head")
    if finished is not None:
        head.load_state_dict(finished)
        return head.eval()
    samples = parts.each("samples", count, lambda number: (_samples(network, pool, seed, number),))
    _fit_words(head, torch.cat([rows for (rows,) in samples]).to(device), torch.Generator().manual_seed(seed))
    # Once more through the network: the descriptors of all views together would take gigabytes.
    vlads = parts.each("photos", count, lambda number: (_vlads(head, _photo_maps(network, pool, seed, number)),))
    photos = torch.cat([rows for (rows,) in vlads]).to(device)
    everything, differences = [photos], [photos[0::2] - photos[1::2]]
    for rows, overlap in parts.each("rooms", rooms, lambda number: _room(network, head, pool, seed, number)):
        if len(rows) < 2:
            continue
        everything.append(rows.to(device))
        first, second = np.nonzero(np.triu(overlap.numpy() >= _SAME_PLACE, 1))
        differences.append(everything[-1][first] - everything[-1][second])
    mean = photos.mean(dim=0)
    projection = torch.zeros_like(head.reduction.weight)  # fewer views than dimensions: zeros remain
    found = _discriminant(torch.cat(everything) - mean, torch.cat(differences), global_dim)
    projection[: len(found)] = found
    projection = (projection / projection.norm(dim=1).max()).half().float()
    head.reduction.weight.copy_(projection)
    head.reduction.bias.copy_(-(projection @ mean))
    parts.finish("head", head.state_dict())
    return head.eval()


def _fit_words(head: LocalVladHead, samples: Tensor, generator: torch.Generator) -> None:
    """The directions in which samples [N, D] differ most, and words among what is left of them. Residuals do not change
    when all points and words are moved alike: the samples' mean needs no subtracting."""
    directions, _ = _principal(samples - samples.mean(dim=0), head.projection.shape[1])
    head.projection.zero_()  # fewer directions than asked for: zeros remain
    head.projection[:, : len(directions)] = directions.t()
    head.words.copy_(k_means(samples @ head.projection, len(head.words), generator))


def _discriminant(centred: Tensor, differences: Tensor, count: int) -> Tensor:
    """Rows [C, D], C <= count, that project vectors so that `differences` [M, D] of equals are small in every direction
    alike, and that span the principal directions of vectors `centred` [N, D] after that."""
    rows = differences.double()
    variances, vectors = torch.linalg.eigh(rows.t() @ rows)
    variances = variances.clamp_min(0)
    # Nothing differs (a pool of blank photos): plain PCA.
    scale = (variances + _RIDGE * variances.mean()).clamp_min(torch.finfo(torch.float32).tiny).rsqrt()
    whitening = (vectors * (scale / scale.max())) @ vectors.t()
    directions, _ = _principal(centred.double() @ whitening, count)
    found: Tensor = directions.double() @ whitening
    return found.float()


def _views(network: HFNet, pool: Pool, seed: int) -> Iterator[LocalMaps]:
    """Every photo, and after each another view of it."""
    for number in range(len(pool.photos)):
        yield from _photo_maps(network, pool, seed, number)


def _photo_maps(network: HFNet, pool: Pool, seed: int, number: int) -> list[LocalMaps]:
    """Of a photo and of another view of it."""
    network.eval()
    image = read_gray(pool.photos[number].path)
    return [_maps(network, view) for view in (image, _other_view(np.random.default_rng((seed, number)), image))]


def _samples(network: HFNet, pool: Pool, seed: int, number: int) -> Tensor:
    """Descriptors of a photo and of another view of it, drawn by their probability of being a keypoint."""
    generator = torch.Generator().manual_seed(seed * _SEEDS + number)
    samples = []
    for maps in _photo_maps(network, pool, seed, number):
        values, weights = LocalVladHead.points(maps)
        chosen = torch.multinomial(weights[0].cpu(), _SAMPLES_PER_VIEW, replacement=True, generator=generator)
        samples.append(values[0, chosen.to(values.device)])
    return torch.cat(samples).cpu()


def _vlads(head: LocalVladHead, views: list[LocalMaps]) -> Tensor:
    return torch.cat([head.vlad(*head.points(maps)) for maps in views]).cpu()


def _room(network: HFNet, head: LocalVladHead, pool: Pool, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """VLADs of the views of a rendered room, and their overlap; empty for a room of less than two views."""
    network.eval()
    views, overlap = render_room(pool, np.random.default_rng((seed, 3, number)), _ROOM_VIEWS)
    if len(views) < 2:
        return torch.zeros(0), torch.zeros(0)
    return _vlads(head, [_maps(network, view) for view in views]), torch.from_numpy(np.asarray(overlap))


def _maps(network: HFNet, view: NDArray[np.uint8]) -> LocalMaps:
    height, width = (side - side % DETECTOR_CELL for side in view.shape)
    tensor = torch.from_numpy(view[:height, :width].copy())[None, None].to(network.stem.conv.weight.device).float()
    return network.local(tensor.contiguous(memory_format=torch.channels_last))


def _other_view(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = np.array(image.shape[::-1])
    middle = (size - 1) / 2 + rng.uniform(-_SHIFT, _SHIFT, 2) * size
    width, height = (int(side) for side in size)
    homography = random_homography(rng, (float(middle[0]), float(middle[1])), (width, height), _OTHER_VIEW)
    view, _ = warp_image(image, homography, (width, height), border=int(rng.integers(256)))
    return photometric(rng, view)


def _principal(centred: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Unit directions [C, D] and singular values [C] of rows [N, D], largest first, C <= count; noise is left out.

    From the smaller of the two Gram matrices, in float64: far faster than a singular value decomposition.
    """
    rows = centred.double()
    tall = len(rows) > rows.shape[1]
    values, vectors = torch.linalg.eigh(rows.t() @ rows if tall else rows @ rows.t())
    singular, vectors = values.flip(0)[:count].clamp_min(0).sqrt(), vectors.flip(1)[:, :count]
    useful = singular > _NOISE * singular[0]
    singular, vectors = singular[useful], vectors[:, useful]
    directions = vectors.t() if tall else (rows.t() @ vectors / singular).t()
    return directions.float(), singular.float()


def k_means(samples: Tensor, count: int, generator: torch.Generator, iterations: int = _ITERATIONS) -> Tensor:
    """Centres [count, D] of samples [N, D], from random ones of them; an empty cluster keeps its centre."""
    centres = samples[torch.randperm(len(samples), generator=generator)[:count]].clone()
    for _ in range(iterations):
        nearest = torch.cdist(samples, centres).argmin(dim=1)
        for number in range(len(centres)):
            members = samples[nearest == number]
            if len(members):
                centres[number] = members.mean(dim=0)
    return centres
