"""Who makes features: a network on an image, or a file that knows the image by its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from hfnet_core.features.network.model_info import ModelInfo
from hfnet_core.images.preparation import Preparation
from hfnet_core.types import Features

__all__ = ["BorrowedRetrieval", "FeatureSource", "NamedSource", "extract_named", "preparation_for", "with_retrieval"]


class FeatureSource(Protocol):
    """An extractor, ours or another."""

    @property
    def info(self) -> ModelInfo:
        """What describes: a map made with it takes queries from the same one only."""

    def extract(self, image: NDArray[Any]) -> Features:
        """Features of an image, [H, W] gray or [H, W, 3] RGB, in its own pixels. Raises DatasetError."""


@runtime_checkable
class NamedSource(FeatureSource, Protocol):
    """A source that has to be told which image it is asked about."""

    def of(self, name: str) -> FeatureSource:
        """The source for one image, by its path from the folder of images. Raises DatasetError for an unknown one."""


def extract_named(
    source: FeatureSource, image: NDArray[Any], name: str, preparation: Preparation | None = None
) -> Features:
    """Features of an image with a name. Raises what the source raises.

    preparation: see `preparation_for`.
    """
    fitting = preparation_for(source, preparation or Preparation())
    return fitting.extract(source.of(name) if isinstance(source, NamedSource) else source, image)


def preparation_for(source: FeatureSource, preparation: Preparation) -> Preparation:
    """What is done to images for a source: turning an image does not turn what a file says of it, so those who know
    images by name see them as they were taken."""
    return replace(preparation, rotation=0) if isinstance(source, NamedSource) else preparation


class BorrowedRetrieval:
    """Local features of one source with the global descriptor of another, so that both retrieve the same images."""

    def __init__(self, local: FeatureSource, retrieval: FeatureSource) -> None:
        self._local, self._retrieval = local, retrieval

    @property
    def info(self) -> ModelInfo:
        return self._local.info

    @property
    def config(self) -> object:
        """What beside `info` decides about the features, for whoever remembers them."""
        return getattr(self._local, "config", None), self._retrieval.info.model_hash

    def extract(self, image: NDArray[Any]) -> Features:
        features = self._local.extract(image)
        return replace(features, global_descriptor=self._retrieval.extract(image).global_descriptor)


class _BorrowedByName(BorrowedRetrieval):
    """The same where one of the two, or both, know images by name."""

    def of(self, name: str) -> FeatureSource:
        local, retrieval = (
            source.of(name) if isinstance(source, NamedSource) else source for source in (self._local, self._retrieval)
        )
        return BorrowedRetrieval(local, retrieval)


def with_retrieval(local: FeatureSource, retrieval: FeatureSource) -> FeatureSource:
    """The local features of one with the global descriptors of the other."""
    if isinstance(local, NamedSource) or isinstance(retrieval, NamedSource):
        return _BorrowedByName(local, retrieval)
    return BorrowedRetrieval(local, retrieval)
