# ruff: noqa: E402
"""Teachers of the paper's recipe: by name, exchangeable, and each with the targets that its network means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import textured_image
from teacher_weights import SMALL, random_weights, save_pth

torch = pytest.importorskip("torch", reason="training needs torch")

from safetensors.numpy import save_file

from hfnet_core.errors import ConfigError, ModelError
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.checkpoint import save_network
from hfnet_core.training.export import export_checkpoint
from hfnet_core.training.network import HFNet
from hfnet_core.training.teachers.own_network import CheckpointTeacher, NetworkTeacher
from hfnet_core.training.teachers.registry import open_teacher
from hfnet_core.training.teachers.targets import FullTeacher, PairedTeacher, gray_of
from hfnet_core.training.teachers.teacher_files import netvlad_shapes, superpoint_shapes
from hfnet_core.training.teachers.teachers_external import NetVlad, SuperPoint

IMAGES = torch.from_numpy(
    np.stack([np.stack([textured_image(40, 32, 3 * n + c) for c in range(3)]) for n in range(2)])
)  # [2, 3, 32, 40]


def check_targets(teacher: FullTeacher) -> None:
    """What every teacher owes."""
    found = teacher.targets(IMAGES)
    assert found.probabilities.shape == (2, 65, 4, 5)
    assert found.descriptors.shape == (2, teacher.local_dim, 4, 5)
    assert found.global_descriptors.shape == (2, teacher.global_dim)
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in found)
    mass = found.probabilities.sum(dim=1)
    assert float(mass.max()) < 1 + 1e-5
    assert float(mass.min()) > 0.9
    torch.testing.assert_close(found.descriptors.norm(dim=1), torch.ones(2, 4, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.global_descriptors.norm(dim=1), torch.ones(2), atol=1e-4, rtol=0)
    alone = teacher.targets(IMAGES[1:])
    for one, both in zip(alone, found, strict=True):
        torch.testing.assert_close(one[0], both[1], atol=1e-4, rtol=1e-4)
    assert torch.nn.Parameter(torch.ones(1)).mul(found.global_descriptors.sum()).requires_grad  # usable in a loss


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("own")
    torch.manual_seed(0)
    save_network(HFNet(NetworkSpec(local_dim=16, global_dim=24, clusters=4, intermediate_dim=8)), folder / "own.pt")
    export_checkpoint(folder / "own.pt", folder / "own.onnx", name="own", version="3", licence="CC0-1.0")
    return folder / "own.pt", folder / "own.onnx"


def test_a_model_and_its_checkpoint_teach_the_same(own: tuple[Path, Path]) -> None:
    checkpoint, model = (open_teacher(f"hfnet={path}", f"hfnet={path}") for path in own)
    assert isinstance(checkpoint, CheckpointTeacher)
    assert isinstance(model, NetworkTeacher)
    assert model.name == "own 3"
    for teacher in (checkpoint, model):
        check_targets(teacher)
    for one, other in zip(checkpoint.targets(IMAGES), model.targets(IMAGES), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_superpoint_and_netvlad_teach_what_they_say_of_an_image(tmp_path: Path, own: tuple[Path, Path]) -> None:
    weights = random_weights(superpoint_shapes())
    weights["convPb.weight"] *= 20
    local = SuperPoint(save_pth(tmp_path / "sp.pth", weights))
    shapes = netvlad_shapes(SMALL)
    file = tmp_path / "netvlad.safetensors"
    save_file(random_weights(shapes, 1), file, metadata={"format": "hfnet-teacher-1", "teacher": "vgg16-netvlad"})
    whole = NetVlad(file, sizes=SMALL)
    teacher = PairedTeacher(local, whole)
    assert (teacher.local_dim, teacher.global_dim) == (256, SMALL.dim)
    assert teacher.name == "superpoint-v1 and vgg16-netvlad"
    check_targets(teacher)

    found = teacher.targets(IMAGES)
    gray = np.rint(gray_of(IMAGES)[0, 0].numpy()).astype(np.uint8)
    expected = local.dense(gray)
    flat = torch.from_numpy(np.repeat(gray[None], 3, axis=0))[None]
    probabilities, descriptors = local.local_targets(flat)
    np.testing.assert_allclose(probabilities[0].permute(1, 2, 0), expected.probabilities, atol=5e-3)
    np.testing.assert_allclose(descriptors[0].permute(1, 2, 0), expected.descriptors, atol=1e-3)
    rgb = np.ascontiguousarray(IMAGES[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(found.global_descriptors[0], whole(rgb), atol=1e-5)

    mixed = open_teacher(f"superpoint={tmp_path / 'sp.pth'}", f"hfnet={own[1]}")
    assert (mixed.local_dim, mixed.global_dim, mixed.name) == (256, 24, "superpoint-v1 and own 3")
    check_targets(mixed)


def test_unknown_names_and_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"local teacher 'netvlad' is not known; give superpoint or hfnet"):
        open_teacher("netvlad=x.mat", "hfnet")
    with pytest.raises(ConfigError, match=r"global teacher 'vlad' is not known; give netvlad or hfnet"):
        open_teacher("hfnet", "vlad")
    with pytest.raises(ConfigError, match="teacher superpoint needs its weights"):
        open_teacher("superpoint", "hfnet")
    with pytest.raises(ConfigError, match="teacher netvlad needs its weights"):
        open_teacher("hfnet", "netvlad")
    with pytest.raises(ModelError, match=r"none\.pth: no such file"):
        open_teacher(f"superpoint={tmp_path / 'none.pth'}", "hfnet")
