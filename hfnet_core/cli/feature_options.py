"""Options of commands that take other features than our network's, and other matches than our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hfnet_core.config import ExtractorConfig
from hfnet_core.errors import ConfigError
from hfnet_core.features.exchange.hloc_files import read_pairs
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.sources import FeatureSource
from hfnet_core.front_ends.matchers import MATCHERS, matcher
from hfnet_core.front_ends.registry import TAKEN, FrontEndSetup, front_end, local_front_end, named
from hfnet_core.front_ends.stored_matches import StoredMatches
from hfnet_core.maintenance.posed_images import Pairing

__all__ = ["FeatureArguments", "PairArguments"]


@dataclass(frozen=True)
class FeatureArguments:
    """Whose features."""

    features: Annotated[str, typer.Option(help=f"Whose features, of map and queries alike: {TAKEN}.")] = "hfnet"
    retrieval: Annotated[
        str, typer.Option(help="Whose global descriptor: hfnet, netvlad=FILE, a file [default: its own, else hfnet]")
    ] = ""

    @property
    def given(self) -> bool:
        """Whether anything but our network is asked for."""
        return self.features != "hfnet" or self.retrieval not in ("", "hfnet")

    def source(self, config: ExtractorConfig, model: Path | None, backend: str = "auto") -> FeatureSource:
        """Raises ConfigError for what is not known, and what opening it raises."""
        return front_end(self.features, FrontEndSetup(config, model, backend), self.retrieval)


@dataclass(frozen=True)
class PairArguments:
    """Which images of a COLMAP model are compared, and how."""

    pairs: Annotated[
        Path | None, typer.Option(help="Images to compare, `NAME0 NAME1` a line [default: by points or retrieval]")
    ] = None
    matches: Annotated[Path | None, typer.Option(help="Their matches, hloc's .h5; with --features FILE.h5.")] = None
    how: Annotated[
        str, typer.Option("--matcher", help=f"Who matches them: {', '.join(MATCHERS)} [default: our own test]")
    ] = ""
    colmap: Annotated[
        Path | None, typer.Option(help="Write the COLMAP model as well, all keypoints in the features' order.")
    ] = None

    @property
    def given(self) -> bool:
        """Whether anything is asked for."""
        return any((self.pairs, self.matches, self.how, self.colmap))

    def pairing(self, features: str, config: ExtractorConfig) -> tuple[Pairing | None, StoredMatches | None]:
        """What to compare, and the matches from a file. features: as `--features` has them. Raises ConfigError for
        what does not go together, DatasetError for files."""
        if not self.given:
            return None, None
        names = None if self.pairs is None else read_pairs(self.pairs)
        if self.matches is None:
            if not self.how:
                return Pairing(names), None
            match = matcher(self.how, named(features)[0])
            return Pairing(names, lambda one, other: match(one[1], other[1])[0]), None
        if self.how:
            raise ConfigError("--matches and --matcher both tell the matches: give one of them")
        stored = (
            local_front_end(features, FrontEndSetup(config)) if Path(features.partition(",")[0]).is_file() else None
        )
        if not isinstance(stored, StoredFeatures):
            raise ConfigError("--matches are between keypoints of a file: give that with --features FILE.h5")
        found = StoredMatches(self.matches, stored)
        return Pairing(names, found), found
