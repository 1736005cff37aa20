"""Features, matches and judgements as other programs and other runs leave them: honest files, and what reads them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from helpers import textured_image

from hfnet_core.benchmarks.judgement.collection import Hypotheses, read_hypotheses
from hfnet_core.benchmarks.judgement.report import calibrated
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.exchange.hloc_writing import append_features, append_matches
from hfnet_core.features.exchange.npz_files import write_npz
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.front_ends.stored_matches import StoredMatches
from hfnet_core.localization.confidence import DENSE

__all__ = ["make_h5", "make_hypotheses", "make_npz", "read_calibration_inputs", "read_h5", "read_npz_features"]

_SIZE = (160, 120)


def make_npz(folder: Path) -> None:
    sift = SiftExtractor()
    write_npz(folder / "a.npz", sift.extract(textured_image()), sift.info)


def read_npz_features(folder: Path) -> None:
    StoredFeatures([folder]).entered("a.jpg", _SIZE)


def make_h5(folder: Path) -> None:
    """Features of two images, and the matches between them."""
    sift = SiftExtractor()
    found = {name: sift.extract(textured_image(*_SIZE, seed)) for seed, name in enumerate(("db/1.jpg", "db/2.jpg"))}
    append_features(folder / "a.h5", found.items(), model_hash=sift.info.model_hash)
    most = min(len(features) for features in found.values())
    pairs = np.tile(np.arange(0, most, 3, dtype=np.int32)[:, None], 2)
    first, second = found
    matched = ((first, second), len(found[first]), pairs, np.ones(len(pairs), np.float32))
    append_matches(folder / "b.h5", [matched])


def read_h5(folder: Path) -> None:
    features = StoredFeatures([folder / "a.h5"])
    first, second = ((name, features.entered(name, _SIZE).features) for name in ("db/1.jpg", "db/2.jpg"))
    StoredMatches(folder / "b.h5", features)(first, second)


def make_hypotheses(folder: Path) -> None:
    """What `hfnet calibrate` keeps of a recording, and the judgement that it adds to."""
    rng, count = np.random.default_rng(0), 120
    right = np.arange(count) % 2 == 0
    numbers = rng.normal(size=(count, len(DENSE))) + right[:, None]
    texts = {"family": np.full(count, "plain"), "source": np.full(count, "a")}
    error = np.where(right[:, None], 0.01, 9.0) * np.ones(2)
    Hypotheses(numbers, right, np.arange(count), **texts, error=error).save(folder / "a.npz")
    (folder / "judgement.json").write_text(
        json.dumps({"0" * 64: {"dense": {"bias": 1.0, "weights": {"inliers": 2.0}}}})
    )


def read_calibration_inputs(folder: Path) -> None:
    """As `hfnet calibrate` does; what comes of it must be a judgement."""
    text = calibrated(Hypotheses.joined([read_hypotheses(folder / "a.npz")]), "f" * 64, folder / "judgement.json")
    assert np.isfinite(json.loads(text)["f" * 64]["dense"]["bias"])
