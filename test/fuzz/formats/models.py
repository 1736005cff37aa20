"""Networks and weights that strangers may give us: small honest files, and what reads them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from checkpoint_writer import write_checkpoint
from helpers import tiny_model
from mutations import mutated
from protobuf_mutations import mutated_protobuf, number

from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.network.model_file import DIGEST
from hfnet_core.features.network.protobuf import varint
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix

__all__ = [
    "damaged_graph",
    "make_checkpoint",
    "make_matlab",
    "make_onnx",
    "make_onnx_graph",
    "make_onnx_of_before",
    "read_checkpoint",
    "read_onnx",
    "read_onnx_graph",
]

Files = Mapping[str, bytes]


def make_onnx(folder: Path) -> None:
    tiny_model(folder).rename(folder / "a.onnx")


def make_onnx_of_before(folder: Path) -> None:
    """Without a digest of the weights, so that damage gets further."""
    import onnx

    make_onnx(folder)
    model = onnx.load(folder / "a.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != DIGEST}
    onnx.helper.set_model_props(model, kept)
    (folder / "a.onnx").write_bytes(model.SerializeToString())


def read_onnx(folder: Path) -> object:
    return OnnxRuntimeBackend(folder / "a.onnx", threads=1).infer(np.full((64, 64), 100.0, np.float32))


def _split(content: bytes, number: int) -> tuple[bytes, bytes]:
    """The fields of a protobuf message without those of a number, and these."""
    rest, own, position = b"", b"", 0
    while position < len(content):
        tag, after = varint(content, position)
        size, after = varint(content, after)
        end = after if tag & 7 == 0 else after + size  # ours have whole numbers and chunks only
        if tag >> 3 == number:
            own += content[position:end]
        else:
            rest += content[position:end]
        position = end
    return rest, own


def make_onnx_graph(folder: Path) -> None:
    """What is not weights: the weights, nearly all of the file, would be hit nearly always."""
    make_onnx_of_before(folder)
    model = (folder / "a.onnx").read_bytes()
    (folder / "a.onnx").unlink()
    head, graph = _split(model, 7)
    nodes, _ = _split(graph[varint(graph, 1)[1] :], 5)
    (folder / "head").write_bytes(head)
    (folder / "nodes").write_bytes(nodes)


@cache
def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        make_onnx_of_before(Path(name))
        _, graph = _split((Path(name) / "a.onnx").read_bytes(), 7)
    return _split(graph[varint(graph, 1)[1] :], 5)[1]


def read_onnx_graph(folder: Path) -> object:
    graph = (folder / "nodes").read_bytes() + _weights()
    (folder / "a.onnx").write_bytes((folder / "head").read_bytes() + b"\x3a" + number(len(graph)) + graph)
    return read_onnx(folder)


def damaged_graph(honest: Files, rng: random.Random) -> dict[str, bytes]:
    """Nearly always the nodes, and most often so that all lengths fit still."""
    name = "nodes" if rng.random() < 0.8 else "head"
    damage = mutated_protobuf if rng.random() < 0.9 else mutated
    return {**honest, name: damage(honest[name], rng)}


def make_checkpoint(folder: Path) -> None:
    rng = np.random.default_rng(0)
    values = {f"layer{index}/weights": rng.normal(size=(3, index + 1)).astype(np.float32) for index in range(5)}
    write_checkpoint(folder / "a", values)


def read_checkpoint(folder: Path) -> object:
    checkpoint = TensorFlowCheckpoint(checkpoint_prefix(folder))
    return [checkpoint.read(name) for name in checkpoint.names()]


def make_matlab(folder: Path) -> None:
    import scipy.io

    rng = np.random.default_rng(0)
    layer = {"name": "conv1", "weights": np.array([rng.normal(size=(2, 3)), rng.normal(size=4)], dtype=object)}
    scipy.io.savemat(folder / "a.mat", {"net": {"layers": [layer, layer], "meta": "x"}}, do_compression=True)
    scipy.io.savemat(folder / "b.mat", {"net": {"layers": [layer, layer], "meta": "x"}}, do_compression=False)
