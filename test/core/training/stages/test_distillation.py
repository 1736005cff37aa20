# ruff: noqa: E402
"""The paper's loss, by hand, and what of the network it reaches."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tiny_paper import draw_folder, stand_in, tiny_config

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.training.data.streaming.photo_stream import Photos, find_photos
from hfnet_core.training.network import HFNet, LocalMaps
from hfnet_core.training.stages.distillation import DistillationStage, decayed_kernels, imitation_losses
from hfnet_core.training.stages.loop import Learned
from hfnet_core.training.stages.validation import Validation
from hfnet_core.training.teachers.targets import Targets, gray_of

SPEC = NetworkSpec(local_dim=16, global_dim=18, clusters=2, intermediate_dim=4)


def network() -> HFNet:
    torch.manual_seed(0)
    return HFNet(SPEC)


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return find_photos([draw_folder(tmp_path / "images", 10)], 2, 0)


def weights(*values: float) -> Learned:
    return Learned(torch.tensor(1.0), torch.tensor(values, requires_grad=True))


def test_imitation_is_measured_as_in_the_paper() -> None:
    rng = np.random.default_rng(0)
    logits, probabilities = rng.normal(size=(2, 65, 3, 4)), rng.uniform(size=(2, 65, 3, 4)) / 40
    mine, theirs = rng.normal(size=(2, 2, 16, 3, 4))
    here, there = rng.normal(size=(2, 2, 18))
    tensors = [torch.tensor(values) for values in (logits, mine, here, probabilities, theirs, there)]
    found = imitation_losses(LocalMaps(*tensors[:2]), tensors[2], Targets(*tensors[3:]))
    assert float(found.global_descriptor) == pytest.approx(0.5 * ((here - there) ** 2).sum() / 2)
    assert float(found.descriptor) == pytest.approx(0.5 * ((mine - theirs) ** 2).sum() / (2 * 3 * 4))
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert float(found.detector) == pytest.approx(-(probabilities * log_softmax).sum() / (2 * 3 * 4))


def test_the_total_is_the_papers_to_the_digit(photos: Photos) -> None:
    stage, student = DistillationStage(photos, stand_in("cpu"), tiny_config()), network()
    stage.prepare(student)
    batch, learned = stage.batches(0, 5)[1], weights(1.0, -0.5, 0.25)
    total, parts = stage.loss(student, learned, batch)
    g, l, p = (parts[name] for name in ("global", "descriptor", "detector"))  # noqa: E741 (the paper's letters)
    kernels = [value for name, value in student.named_parameters() if value.ndim == 4 and value.shape[1] > 1]
    kernels = [value for value in kernels if value.shape[:2] not in ((4, 240), (2, 4))] + [student.stem.conv.weight]
    assert sum(value.numel() for value in kernels) == sum(value.numel() for value in decayed_kernels(student))
    decay = 4e-5 * 0.5 * sum(float(value.detach().square().sum()) for value in kernels)
    expected = math.exp(-1) * g + 1 + math.exp(0.5) * l - 0.5 + 2 * math.exp(-0.25) * p + 0.25 + decay
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)
    assert parts["regularization"] == pytest.approx(decay, rel=1e-5)
    assert [parts[f"w_{name}"] for name in ("global", "descriptor", "detector")] == [1.0, -0.5, 0.25]

    total.backward()
    slopes = learned.log_variances.grad
    assert slopes is not None
    wanted = [1 - math.exp(-1) * g, 1 - math.exp(0.5) * l, 1 - 2 * math.exp(-0.25) * p]
    torch.testing.assert_close(slopes, torch.tensor(wanted), rtol=1e-5, atol=1e-6)
    lacking = {name for name, value in student.named_parameters() if value.grad is None}
    assert lacking == {"global_head.norm.weight"}  # the paper's network has no such factor


def test_fixed_weights_are_normalised_by_their_sum(photos: Photos) -> None:
    config = tiny_config(loss_weights=[1.0, 2.0, 5.0], weight_decay=0.0)
    stage, student = DistillationStage(photos, stand_in("cpu"), config), network()
    stage.prepare(student)
    assert stage.tasks == 0
    total, parts = stage.loss(student, weights(), stage.batches(0, 5)[0])
    expected = (parts["global"] + 2 * parts["descriptor"] + 5 * parts["detector"]) / 8
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)


def test_running_statistics_follow_as_slowly_as_asked(photos: Photos) -> None:
    student = network()
    config = tiny_config(batch_norm_decay=0.997, vlad_batch_norm_decay=0.999)
    trained = DistillationStage(photos, stand_in("cpu"), config).prepare(student)
    norms = {name: module for name, module in student.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert norms["global_head.norm"].momentum == pytest.approx(0.001)
    assert {round(norm.momentum, 6) for name, norm in norms.items() if name != "global_head.norm"} == {0.003}
    assert torch.equal(norms["global_head.norm"].weight, torch.ones(2))
    assert len(trained) == len(list(student.parameters())) - 1


def test_each_broken_photo_is_one_line(photos: Photos, caplog: pytest.LogCaptureFixture) -> None:
    Path(photos.paths[4]).write_bytes(b"no image")
    stage, student = DistillationStage(photos, stand_in("cpu"), tiny_config(batch_size=4)), network()
    stage.prepare(student)
    batches = stage.batches(0, 6)
    with caplog.at_level(logging.WARNING):
        for step in range(6):  # three rounds
            stage.loss(student, weights(1.0, 1.0, 1.0), batches[step])
    assert [record.getMessage() for record in caplog.records] == [
        f"{photos.paths[4]}: not an image that can be read, or damaged; left out"
    ]


def test_photos_none_of_which_can_be_read_end_it_in_one_line(photos: Photos) -> None:
    for path in photos.paths:
        Path(path).write_bytes(b"no image")
    stage = DistillationStage(photos, stand_in("cpu"), tiny_config())
    with pytest.raises(DatasetError, match=r"photo_\d+\.png: neither it nor \d+ other images can be read"):
        stage.loss(network(), weights(1.0, 1.0, 1.0), stage.batches(0, 1)[0])


def test_a_run_does_not_go_on_with_other_photos(photos: Photos) -> None:
    stage = DistillationStage(photos, stand_in("cpu"), tiny_config())
    stage.restore(stage.state())
    other = DistillationStage(Photos(photos.paths[::-1], 2), stand_in("cpu"), tiny_config())
    with pytest.raises(ConfigError, match="photos: not as where this run was interrupted"):
        other.restore(stage.state())
    with pytest.raises(ConfigError, match=r"batch_size: .*\(2 then, 3 now\)"):
        DistillationStage(photos, stand_in("cpu"), tiny_config(batch_size=3)).restore(stage.state())
    with pytest.raises(ConfigError, match=r"loss_weights: .*\[1\.0, 1\.0, 1\.0\] now"):
        DistillationStage(photos, stand_in("cpu"), tiny_config(loss_weights=[1, 1, 1])).restore(stage.state())


def test_validation_sees_clean_photos_and_changes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    import cv2

    for number in range(15):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))
    photos, teacher, student = find_photos([tmp_path], 3, 0), stand_in("cpu"), network().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = Validation(photos, teacher, (64, 48), 2).measure(student)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())

    images = [cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in photos.paths[:3]]
    clean = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    targets = teacher.targets(clean)
    with torch.no_grad():
        maps, global_descriptors = student.eval()(gray_of(clean))
    expected = imitation_losses(maps, global_descriptors, targets)
    for name, value in zip(("global", "descriptor", "detector"), expected, strict=True):
        assert found[name] == pytest.approx(float(value), rel=1e-4)
    peaks = targets.probabilities.argmax(dim=1)
    same = (maps.logits.argmax(dim=1) == peaks)[peaks < 64]
    assert found["keypoints"] == pytest.approx(float(same.float().mean()))
    nearest = (global_descriptors @ targets.global_descriptors.t()).argmax(dim=1).tolist()
    assert found["recall"] == pytest.approx(sum(a == b for a, b in enumerate(nearest)) / 3)
