"""The one table of front ends, and what else `--features` takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError, MissingExtraError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.sources import FeatureSource, with_retrieval
from hfnet_core.front_ends.described_source import open_described
from hfnet_core.front_ends.peer_source import NetworkSource, Peer

__all__ = ["NAMES", "TAKEN", "FrontEndSetup", "front_end", "local_front_end", "named", "torch_module"]

PEERS: Mapping[str, Peer] = {
    "aliked": Peer("aliked-n16", 128, "BSD-3-Clause"),
    "disk": Peer("disk-depth", 128, "Apache-2.0", colour=True),
    "xfeat": Peer("xfeat", 64, "Apache-2.0", colour=True),
    "superpoint": Peer("superpoint-v1", 256, "LicenseRef-Magic-Leap"),
}
NAMES = ("hfnet", "sift", "orb", *PEERS)
TAKEN = f"{', '.join(NAMES)} (NAME=WEIGHTS), a folder of .npz, LOCAL.h5[,GLOBAL.h5] of hloc, or a description .yaml"
_OWN_WEIGHTS = ("superpoint",)  # nobody else may hand them on


@dataclass(frozen=True)
class FrontEndSetup:
    """What every front end is made with. model: our network, None for the one that ships. backend: what runs it.
    threads: 0 for one per core. weights: files by name of a front end, for those that have none or others."""

    config: ExtractorConfig = field(default_factory=ExtractorConfig)
    model: Path | None = None
    backend: str = "auto"
    threads: int = 0
    weights: Mapping[str, Path] = field(default_factory=dict)

    def network(self) -> Extractor:
        """Our own."""
        return Extractor(open_backend(self.model, self.backend, threads=self.threads), self.config)


def named(text: str) -> tuple[str, Path | None]:
    """(name, weights) of `NAME` or `NAME=WEIGHTS`."""
    name, equals, file = text.partition("=")
    return name, Path(file) if equals else None


def front_end(text: str, setup: FrontEndSetup | None = None, retrieval: str = "") -> FeatureSource:
    """The source that `--features TEXT` names, with a global descriptor.

    retrieval: whose global descriptor: "hfnet", `netvlad=WEIGHTS` or GLOBAL.h5; "" for its own, or ours where it has
    none. Raises ConfigError for a name that is not known or lacks its weights, and what opening the source raises.
    """
    setup = setup or FrontEndSetup()
    if text == "hfnet" and retrieval in ("", "hfnet"):
        return setup.network()
    local = local_front_end(text, setup)
    if not retrieval and local.info.spec.global_dim:
        return local
    return with_retrieval(local, _retrieval(retrieval or "hfnet", setup))


def local_front_end(text: str, setup: FrontEndSetup) -> FeatureSource:
    """The same without a borrowed global descriptor."""
    name, weights = named(text)
    makers: dict[str, Callable[[], FeatureSource]] = {
        "hfnet": setup.network,
        "sift": lambda: SiftExtractor(setup.config),
        "orb": lambda: OrbExtractor(setup.config),
    }
    if name in makers:
        return makers[name]()
    if name in PEERS:
        return _peer(name, weights or setup.weights.get(name), setup)
    path = Path(text)
    if path.suffix in (".yaml", ".yml"):
        return open_described(path, setup.config, setup.threads)
    if path.is_dir():
        return StoredFeatures([path], setup.config)
    if path.suffix in (".h5", ".hdf5"):
        return StoredFeatures([Path(part) for part in text.split(",")], setup.config)
    raise ConfigError(f"features {text!r} are not known; give {TAKEN}")


def _peer(name: str, weights: Path | None, setup: FrontEndSetup) -> FeatureSource:
    if weights is None and name in _OWN_WEIGHTS:
        raise ConfigError(f"front end {name} needs its weights, which come with nothing: give {name}=FILE")
    make = getattr(torch_module("features", setup.threads), name)
    return NetworkSource(PEERS[name], make(setup.config.max_keypoints, weights), setup.config)


def _retrieval(text: str, setup: FrontEndSetup) -> FeatureSource:
    name, weights = named(text)
    if name == "hfnet":
        return setup.network()
    if name == "netvlad":
        if weights is None:
            raise ConfigError("retrieval netvlad needs its weights, which come with nothing: give netvlad=FILE")
        found: FeatureSource = torch_module("retrieval").NetVladSource(weights)
        return found
    return local_front_end(text, setup)


def torch_module(name: str, threads: int = 0) -> Any:
    """A module of `training/peers`. threads: of torch from now on, 0 to leave them. Raises MissingExtraError."""
    try:
        module = importlib.import_module(f"hfnet_core.training.peers.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hfnet_core"):
            raise
        raise MissingExtraError(
            f"{error.name} is not installed, other people's features need it: pip install 'hfnet_ros[peers]'",
            name=error.name,
        ) from error
    if threads:
        importlib.import_module("torch").set_num_threads(threads)
    return module
