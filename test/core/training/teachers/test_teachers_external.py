# ruff: noqa: E402
"""SuperPoint and NetVLAD: the right arithmetic from every kind of file, and nothing from a wrong one.

Their real weights may not be redistributed: the files here hold random values in the layouts that public readers of the
real ones expect. Expected outputs are computed with numpy and scipy, by the formulas in the papers' notation.
"""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from checkpoint_writer import write_checkpoint
from helpers import textured_image
from scipy.io import savemat
from scipy.signal import correlate
from teacher_weights import SMALL, random_weights, save_pth
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")

from hfnet_core.cli.import_checkpoint import import_checkpoint
from hfnet_core.errors import DatasetError, ModelError
from hfnet_core.features.network.release_import import open_release
from hfnet_core.training.data.pool import Pool, read_gray
from hfnet_core.training.data.teacher_keypoints import read_keypoints, run_teacher
from hfnet_core.training.teachers.teacher_files import (
    NetVladSizes,
    import_teacher,
    netvlad_shapes,
    read_netvlad,
    read_superpoint,
    superpoint_shapes,
)
from hfnet_core.training.teachers.teachers_external import NetVlad, SuperPoint


@pytest.fixture(scope="module")
def superpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    weights = random_weights(superpoint_shapes())
    weights["convPb.weight"] *= 20  # decided logits, as trained ones are
    path = tmp_path_factory.mktemp("superpoint") / "superpoint_v1.pth"
    return save_pth(path, weights, _use_new_zipfile_serialization=False), weights  # of 2018, hence the old format


def convolve(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """[C, H, W] with kernel [O, C, k, k], zero padding."""
    pad = kernel.shape[2] // 2
    padded = np.pad(x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad)))
    return np.stack([correlate(padded, k, "valid")[0] + b for k, b in zip(kernel, bias, strict=True)])


def pool(x: np.ndarray) -> np.ndarray:
    channels, height, width = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(channels, height // 2, 2, width // 2, 2)
    return x.max(axis=(2, 4))


def test_superpoint_computes_what_its_paper_says(superpoint: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, w = superpoint
    image = textured_image(37, 26, 3)
    targets = SuperPoint(path).dense(image)
    x = image[None, :24, :32] / 255.0

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return convolve(x, w[f"{name}.weight"], w[f"{name}.bias"])

    for stage in "1234":
        x = np.maximum(layer(f"conv{stage}b", np.maximum(layer(f"conv{stage}a", x), 0)), 0)
        x = x if stage == "4" else pool(x)
    z = np.exp(layer("convPb", np.maximum(layer("convPa", x), 0)))
    expected = (z / (z.sum(axis=0) + 1e-5)).transpose(1, 2, 0)
    descriptors = layer("convDb", np.maximum(layer("convDa", x), 0)).transpose(1, 2, 0)
    assert targets.probabilities.shape == (3, 4, 65)
    assert targets.descriptors.shape == (3, 4, 256)
    np.testing.assert_allclose(targets.probabilities, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(
        targets.descriptors, descriptors / np.linalg.norm(descriptors, axis=-1, keepdims=True), rtol=0, atol=1e-5
    )


def test_superpoint_probabilities_never_overflow(
    superpoint: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    weights = dict(superpoint[1])
    weights["convPb.weight"] = weights["convPb.weight"] * 1e4
    probabilities = SuperPoint(save_pth(tmp_path / "hot.pth", weights)).dense(textured_image(32, 32, 1)).probabilities
    assert np.isfinite(probabilities).all()
    assert (probabilities.sum(axis=-1) <= 1 + 1e-6).all()
    weights["convPb.weight"] *= 0
    weights["convPb.bias"] = np.full(65, np.log(1e-7), np.float32)  # the floor counts: 65e-7 / (65e-7 + 1e-5)
    probabilities = SuperPoint(save_pth(tmp_path / "cold.pth", weights)).dense(textured_image(32, 32, 1)).probabilities
    np.testing.assert_allclose(probabilities.sum(axis=-1), 6.5 / 16.5, rtol=1e-4)


def test_superpoint_fills_the_keypoint_cache(
    superpoint: tuple[Path, dict[str, np.ndarray]], pool_folder: Path, tmp_path: Path
) -> None:
    """It is a Teacher like any other; its keypoints sit where the probabilities peak."""
    teacher = SuperPoint(superpoint[0], max_keypoints=50)
    photos = Pool.read(pool_folder)
    run_teacher(lambda: teacher, photos, tmp_path / "cache")
    found = read_keypoints(tmp_path / "cache", photos.photos[1].name)
    assert found.xy.shape == (50, 2)
    assert (np.diff(found.scores) <= 0).all()
    pixels = teacher.dense(read_gray(photos.photos[1].path)).probabilities[..., :64]
    row, column, place = np.unravel_index(pixels.argmax(), pixels.shape)
    assert found.scores[0] == pixels.max()
    assert np.abs(found.xy[0] - (8 * column + place % 8, 8 * row + place // 8)).max() <= 2  # refined within 2 px


def matlab_net(weights: dict[str, np.ndarray], sizes: NetVladSizes, drop: str = "") -> dict[str, Any]:
    """`net` with the layers of the real file, in order."""

    def cells(*values: Any) -> np.ndarray:
        result = np.empty(len(values), dtype=object)
        result[:] = values
        return result

    layers: list[dict[str, Any]] = []
    for name, _, _ in sizes.convolutions():
        if name.endswith("_1") and name != "conv1_1":
            layers.append({"name": f"pool{name[4]}", "type": "pool"})
        kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
        layers.append({"name": name, "type": "conv", "weights": cells(kernel, weights[f"{name}.bias"][:, None])})
        layers.append({"name": f"relu{name[4:]}", "type": "relu"})
    core = cells(weights["assignment.weight"].T[None, None], -weights["centres"].T[None, None])
    projection = cells(weights["projection.weight"].T[None, None], weights["projection.bias"][None])
    layers[-1] = {"name": "preL2", "type": "normalize"}
    layers.append({"name": "vlad:core", "type": "custom", "weights": core})
    layers.append({"name": "postL2", "type": "custom"})
    layers.append({"name": "WPCA", "type": "conv", "weights": projection})
    layers.append({"name": "finalL2", "type": "custom"})
    mean = np.broadcast_to(weights["mean"], (5, 5, 3))
    kept = [layer for layer in layers if layer["name"] != drop]
    return {"net": {"layers": cells(*kept), "meta": {"normalization": {"averageImage": mean}}}}


@pytest.fixture(scope="module")
def netvlad() -> dict[str, np.ndarray]:
    weights = random_weights(netvlad_shapes(SMALL), seed=1)
    return weights | {"mean": np.array([123.7, 116.8, 103.9], np.float32)}


@pytest.fixture(scope="module")
def mat(netvlad: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("netvlad") / "structed.mat"
    savemat(path, matlab_net(netvlad, SMALL), do_compression=True)
    return path


@pytest.mark.filterwarnings("error::UserWarning")
def test_netvlad_computes_what_its_paper_says(mat: Path, netvlad: dict[str, np.ndarray]) -> None:
    image = np.stack([textured_image(50, 38, seed) for seed in range(3)], axis=-1)
    found = NetVlad(mat, sizes=SMALL)(image)
    x = image.transpose(2, 0, 1) - netvlad["mean"][:, None, None].astype(np.float64)
    names = [name for name, _, _ in SMALL.convolutions()]
    for name in names:
        x = pool(x) if name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1") else x
        x = convolve(x, netvlad[f"{name}.weight"], netvlad[f"{name}.bias"])
        x = x if name == "conv5_3" else np.maximum(x, 0)
    points = x.reshape(9, -1).T  # [P, D]
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    scores = np.exp(points @ netvlad["assignment.weight"].T)
    scores /= scores.sum(axis=1, keepdims=True)
    vlad = sum(a[:, None] * (p - netvlad["centres"]) for a, p in zip(scores, points, strict=True))  # [K, D]
    vlad /= np.linalg.norm(vlad, axis=1, keepdims=True)
    flat = vlad.T.reshape(-1)  # [D, K]
    expected = netvlad["projection.weight"] @ (flat / np.linalg.norm(flat)) + netvlad["projection.bias"]
    assert len(points) == 2 * 3
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=0, atol=1e-5)


def test_netvlad_from_every_kind_of_file(mat: Path, netvlad: dict[str, np.ndarray], tmp_path: Path) -> None:
    variables = {"average_rgb": netvlad["mean"], "WPCA/bias": netvlad["projection.bias"],
                 "WPCA/kernel": netvlad["projection.weight"].T[None, None],
                 "assignment/kernel": netvlad["assignment.weight"].T[None, None],
                 "cluster_centers": -netvlad["centres"].T[None, None, None]}  # fmt: skip
    for name, _, _ in SMALL.convolutions():
        variables |= {f"{name}/kernel": netvlad[f"{name}.weight"].transpose(2, 3, 1, 0),
                      f"{name}/bias": netvlad[f"{name}.bias"]}  # fmt: skip
    prefix = tmp_path / "vd16"
    write_checkpoint(prefix, {f"vgg16_netvlad_pca/{name}": value for name, value in variables.items()})
    assert open_release(prefix) is None  # a teacher, not HF-Net
    for source in (mat, prefix):
        found = read_netvlad(source, SMALL)
        assert found.keys() == netvlad.keys()
        for name, value in netvlad.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
            assert found[name].flags.c_contiguous


def test_imported_superpoint_is_the_same(superpoint: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    target = tmp_path / "superpoint.safetensors"
    assert import_teacher(superpoint[0], target) == "superpoint-v1"
    for name, value in read_superpoint(target).items():
        np.testing.assert_array_equal(value, superpoint[1][name])
    with pytest.raises(ModelError, match="holds superpoint-v1, not vgg16-netvlad"):
        read_netvlad(target)
    content = target.read_bytes()
    target.write_bytes(content[:-100])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        read_superpoint(target)


def test_the_command_imports_a_teacher(superpoint: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(import_checkpoint)
    target = tmp_path / "teacher.safetensors"
    result = CliRunner().invoke(app, [str(superpoint[0]), "-o", str(target)])
    assert result.exit_code == 0
    assert "superpoint-v1" in result.output
    assert read_superpoint(target).keys() == superpoint_shapes().keys()
    result = CliRunner().invoke(app, [str(tmp_path / "none.mat"), "-o", str(target)])
    assert isinstance(result.exception, ModelError)


def test_wrong_superpoint_files_are_refused(superpoint: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    good = superpoint[1]
    cases = {
        "lacks parameter 'conv1a.weight'": {n: v for n, v in good.items() if n != "conv1a.weight"},
        "unknown parameter 'fc.weight'": good | {"fc.weight": np.zeros(3, np.float32)},
        r"'convDb.weight' is float32 \(128, 256, 1, 1\), must be float \(256, 256, 1, 1\)":
            good | {"convDb.weight": good["convDb.weight"][:128]},
        "'conv1a.bias' holds NaN": good | {"conv1a.bias": np.full(64, np.nan, np.float32)},
        r"'conv1a.bias' is int64 \(64,\)": good | {"conv1a.bias": np.zeros(64, np.int64)},
    }  # fmt: skip
    for reason, weights in cases.items():
        with pytest.raises(ModelError, match=reason):
            import_teacher(save_pth(tmp_path / "bad.pth", weights), tmp_path / "out.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="not a dictionary of tensors"):
        read_superpoint(tmp_path / "list.pth")
    with pytest.raises(ModelError, match="no such file"):
        read_superpoint(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="a teacher is written as"):
        import_teacher(superpoint[0], tmp_path / "out.onnx")
    assert {path.suffix for path in tmp_path.iterdir()} == {".pth"}


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code ran",)


def test_code_in_a_pth_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"conv1a.weight": Malicious()}, tmp_path / "bad.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malicious()))
    for name in ("bad.pth", "raw.pth"):
        with pytest.raises(ModelError, match="not a readable PyTorch file"):
            read_superpoint(tmp_path / name)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("new_format", [False, True])
def test_truncated_pth(superpoint: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, new_format: bool) -> None:
    path = save_pth(tmp_path / "sp.pth", superpoint[1], _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    for length in [0, 1, 3, 17, *range(20, 3000, 173), 5000, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"sp\.pth: not a readable PyTorch file, or truncated"):
            read_superpoint(path)


def test_truncated_or_damaged_mat(mat: Path, netvlad: dict[str, np.ndarray], tmp_path: Path) -> None:
    content, path = mat.read_bytes(), tmp_path / "cut.mat"
    for length in [0, 1, 100, 127, 128, 129, 136, *range(140, len(content), len(content) // 12), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.mat: .*(not a MATLAB file|truncated|holds no variable)"):
            read_netvlad(path, SMALL)
    savemat(tmp_path / "plain.mat", matlab_net(netvlad, SMALL))
    content = (tmp_path / "plain.mat").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, 6000, 150):  # headers mostly; uncompressed, so that damage gets past the checksum
        path.write_bytes(content[:place] + bytes([content[place] ^ int(rng.integers(1, 256))]) + content[place + 1 :])
        try:
            read_netvlad(path, SMALL)
        except ModelError as error:
            assert str(path) in str(error)


def test_wrong_mat_files_are_refused(mat: Path, netvlad: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "bad.mat"
    savemat(path, matlab_net(netvlad, SMALL, drop="WPCA"))
    with pytest.raises(ModelError, match="lacks layer 'WPCA'; this is not VGG16-NetVLAD with whitening"):
        read_netvlad(path, SMALL)
    with pytest.raises(ModelError, match=r"weights 1 of layer 'conv1_1' are \(3, 3, 3, 4\), must be \(3, 3, 3, 64\)"):
        import_teacher(mat, tmp_path / "out.safetensors")
    with pytest.raises(ModelError, match="weights 1 of layer 'vlad_core'"):
        read_netvlad(mat, dataclasses.replace(SMALL, clusters=4))
    savemat(path, {"net": {"layers": 1.0}})
    with pytest.raises(ModelError, match="layers are not structs"):
        read_netvlad(path, SMALL)
    savemat(path, {"net": {**matlab_net(netvlad, SMALL)["net"], "meta": 0.0}})
    with pytest.raises(ModelError, match="averageImage is not an image"):
        read_netvlad(path, SMALL)
    savemat(path, {"other": 1})
    with pytest.raises(ModelError, match="holds no variable 'net'"):
        read_netvlad(path, SMALL)
    with pytest.raises(ModelError, match=r"none\.mat: cannot be read"):
        read_netvlad(tmp_path / "none.mat")
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_netvlad_checkpoints_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "x", {"vgg16_netvlad_pca/average_rgb": np.zeros(3)})
    with pytest.raises(ModelError, match="lacks variable 'vgg16_netvlad_pca/conv1_1/kernel'"):
        import_teacher(tmp_path / "x", tmp_path / "out.safetensors")
    write_checkpoint(tmp_path / "x", {"vgg16_netvlad_pca/average_rgb": np.zeros(4)})
    with pytest.raises(ModelError, match=r"average_rgb' has shape \(4,\), not \(3,\)"):
        import_teacher(tmp_path / "x", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_unusable_images(superpoint: tuple[Path, dict[str, np.ndarray]], mat: Path) -> None:
    gray, colour = SuperPoint(superpoint[0]), NetVlad(mat, sizes=SMALL)
    for image in (np.zeros((7, 50), np.uint8), np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.float32)):
        with pytest.raises(DatasetError, match="needs uint8"):
            gray(image)
    for image in (np.zeros((15, 50, 3), np.uint8), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 4), np.uint8)):
        with pytest.raises(DatasetError, match="needs uint8"):
            colour(image)
    assert np.linalg.norm(colour(np.zeros((16, 16, 3), np.uint8))) == pytest.approx(1)
