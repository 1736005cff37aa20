"""Every reader of files that strangers may give us, with a small honest file of its kind."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the builders of the tests

from bags import write_bag
from checkpoint_writer import write_checkpoint
from forgery import forged, opened, sealed
from helpers import textured_image, tiny_model
from mutations import mutated, mutated_files
from protobuf_mutations import mutated_protobuf, number
from scene import CAMERA, Scene, looking, walk

from hfnet_core.evaluation.query_list import read_query_list
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.baselines import SiftExtractor
from hfnet_core.features.exchange.hloc_files import read_pairs
from hfnet_core.features.exchange.npz_files import write_npz
from hfnet_core.features.exchange.stored import StoredFeatures
from hfnet_core.features.network.model_file import DIGEST
from hfnet_core.features.network.protobuf import varint
from hfnet_core.features.network.tensorflow_checkpoint import TensorFlowCheckpoint, checkpoint_prefix
from hfnet_core.images.reading import read_image
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.maintenance.align import read_positions
from hfnet_core.maintenance.summary import summarize
from hfnet_core.maps.colmap import export_colmap, import_colmap
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.maps.exchange.nvm import read_nvm
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.calibration import camera_from_file
from hfnet_core.recordings.options import BagOptions
from hfnet_core.recordings.tum import read_tum
from hfnet_core.training.teachers.matlab_file import read_matlab

__all__ = ["FORMATS", "Format"]

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """name: of what is read. build: honest files in a folder. read: what a user's command would do with them.

    texts: endings of the names of text files. damage: what is done to the files, if not what is done to all.
    """

    name: str
    build: Callable[[Path], None]
    read: Callable[[Path], object]
    texts: tuple[str, ...] = (".txt", ".csv", ".yaml", ".json")
    damage: Callable[[Files, random.Random], dict[str, bytes]] | None = None

    def damaged(self, honest: Files, rng: random.Random) -> dict[str, bytes]:
        """The files of a folder, one or two of them damaged."""
        return mutated_files(honest, rng, self.texts) if self.damage is None else self.damage(honest, rng)


@cache
def _scene() -> Scene:
    return Scene.make(points=600)


def _map(folder: Path) -> None:
    save_map(_scene().build_map(walk(12)), folder / "a.hfmap")


def _map_with_provenance(folder: Path) -> None:
    """With everything in it that a map may say beside its arrays."""
    _map(folder)
    header, description, arrays = opened((folder / "a.hfmap").read_bytes())
    turn = {"enu_from_map_xyzw": [0.0, 0.0, 0.0, 1.0], "scale": 1.0, "residual_m": 0.5, "fixes": 9, "outliers": 1}
    place = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0, **turn, "source": "fix"}
    description["provenance"] = {
        **description["provenance"], "georeference": place, "recordings": [{"name": "a", "camera_frame": "camera"}],
    }  # fmt: skip
    description["given_cameras"] = description["cameras"]
    (folder / "a.hfmap").write_bytes(sealed(header, description, arrays))


def _forged_map(honest: Files, rng: random.Random) -> dict[str, bytes]:
    return {"a.hfmap": forged(honest["a.hfmap"], rng)}


def _read_map(folder: Path) -> None:
    path = folder / "a.hfmap"
    summarize(load_map(path), path)


def _read_large_map(folder: Path) -> None:
    """As one that is too large for its checksums to be compared: an answer or an error."""
    localizer = Localizer(load_map(folder / "a.hfmap", verify=False))
    pose = looking(0.3, 0.2, 40)
    features = _scene().view(pose, seed=5)[0]
    localizer.localize([View(features, CAMERA)])
    localizer.localize([View(features, CAMERA)], pose)


def _bag(storage: str, name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        write_bag(folder / name, storage, frames=3)

    return build


def _read_bag(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with Bag(folder / name, BagOptions(camera_optional=True)) as bag:
            return [frame.map_from_camera for frame in bag.frames()]

    return read


def _onnx(folder: Path) -> None:
    tiny_model(folder).rename(folder / "a.onnx")


def _onnx_of_before(folder: Path) -> None:
    """Without a digest of the weights, so that damage gets further."""
    import onnx

    _onnx(folder)
    model = onnx.load(folder / "a.onnx")
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key != DIGEST}
    onnx.helper.set_model_props(model, kept)
    (folder / "a.onnx").write_bytes(model.SerializeToString())


def _read_onnx(folder: Path) -> object:
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


def _onnx_graph(folder: Path) -> None:
    """What is not weights: the weights, nearly all of the file, would be hit nearly always."""
    _onnx_of_before(folder)
    model = (folder / "a.onnx").read_bytes()
    (folder / "a.onnx").unlink()
    head, graph = _split(model, 7)
    nodes, _ = _split(graph[varint(graph, 1)[1] :], 5)
    (folder / "head").write_bytes(head)
    (folder / "nodes").write_bytes(nodes)


@cache
def _weights() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        _onnx_of_before(Path(name))
        _, graph = _split((Path(name) / "a.onnx").read_bytes(), 7)
    return _split(graph[varint(graph, 1)[1] :], 5)[1]


def _read_onnx_graph(folder: Path) -> object:
    graph = (folder / "nodes").read_bytes() + _weights()
    (folder / "a.onnx").write_bytes((folder / "head").read_bytes() + b"\x3a" + number(len(graph)) + graph)
    return _read_onnx(folder)


def _damaged_graph(honest: Files, rng: random.Random) -> dict[str, bytes]:
    """Nearly always the nodes, and most often so that all lengths fit still."""
    name = "nodes" if rng.random() < 0.8 else "head"
    damage = mutated_protobuf if rng.random() < 0.9 else mutated
    return {**honest, name: damage(honest[name], rng)}


def _checkpoint(folder: Path) -> None:
    rng = np.random.default_rng(0)
    values = {f"layer{index}/weights": rng.normal(size=(3, index + 1)).astype(np.float32) for index in range(5)}
    write_checkpoint(folder / "a", values)


def _read_checkpoint(folder: Path) -> object:
    checkpoint = TensorFlowCheckpoint(checkpoint_prefix(folder))
    return [checkpoint.read(name) for name in checkpoint.names()]


def _matlab(folder: Path) -> None:
    import scipy.io

    rng = np.random.default_rng(0)
    layer = {"name": "conv1", "weights": np.array([rng.normal(size=(2, 3)), rng.normal(size=4)], dtype=object)}
    scipy.io.savemat(folder / "a.mat", {"net": {"layers": [layer, layer], "meta": "x"}}, do_compression=True)
    scipy.io.savemat(folder / "b.mat", {"net": {"layers": [layer, layer], "meta": "x"}}, do_compression=False)


def _colmap(text: bool) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        export_colmap(_scene().build_map(walk(12)), folder / "model", text=text)
        for path in (folder / "model").iterdir():
            path.rename(folder / path.name)
        (folder / "model").rmdir()

    return build


def _calibration(folder: Path) -> None:
    known = {"image_width": 640, "image_height": 480, "distortion_model": "plumb_bob"}
    matrix = [500.0, 0.0, 320.0, 0.0, 501.0, 240.0, 0.0, 0.0, 1.0]
    rows = "\n".join(f"{name}: {value}" for name, value in known.items())
    (folder / "a.yaml").write_text(
        f"{rows}\ncamera_matrix: {{rows: 3, cols: 3, data: {matrix}}}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0.0]}\n"
    )
    params = [500.0, 501.0, 320.0, 240.0, 0.1, 0.0, 0.0, 0.0]
    camera = {"model": "OPENCV", "width": 640, "height": 480, "params": params}
    (folder / "b.json").write_text(json.dumps(camera))


def _tum(folder: Path) -> None:
    lines = [f"17000000{index:02d}.123456789 {index} 2.5 -3 0 0 0.6 0.8 a{index}.png" for index in range(5)]
    (folder / "a.txt").write_text("# stamp tx ty tz qx qy qz qw\n" + "\n".join(lines) + "\n")


def _queries(folder: Path) -> None:
    (folder / "a.txt").write_text(
        "night/a.jpg SIMPLE_RADIAL 1600 1200 1469.2 800 600 -0.04\n"
        "b.jpg OPENCV 640 480 500 501 320 240 0.1 0.2 0.3 0.4  # comment\nc.jpg PINHOLE 640 480 500 501 320 240\n"
    )


def _nvm(folder: Path) -> None:
    images = "".join(f"db/{index}.jpg\t{700 + index} 0.6 0 0.8 0 {index} 2 3 -0.05 0\n" for index in range(3))
    points = "".join(f"{index} 2 10 255 0 0 2 0 {index} -3.5 4 {1 + index % 2} 2 10.25 -20\n" for index in range(5))
    (folder / "a.nvm").write_text(f"NVM_V3\n\n3\n{images}\n5\n{points}\n0\n")


def _positions(folder: Path) -> None:
    (folder / "a.csv").write_text("keyframe,x,y,z\n0/1,1.0,2.0,3.0\n1700000000.5,4,5,6\n")


def _npz(folder: Path) -> None:
    sift = SiftExtractor()
    write_npz(folder / "a.npz", sift.extract(textured_image()), sift.info)


def _read_npz_features(folder: Path) -> None:
    StoredFeatures([folder]).entered("a.jpg", (160, 120))


def _pairs(folder: Path) -> None:
    (folder / "pairs.txt").write_text("query/1.jpg db/1.jpg\nquery/1.jpg db/2.jpg\n")


def _photos(folder: Path) -> None:
    colour = cv2.cvtColor(textured_image(48, 40), cv2.COLOR_GRAY2BGR)
    for suffix in ("jpg", "png", "webp", "tif", "bmp", "ppm"):
        cv2.imwrite(str(folder / f"a.{suffix}"), colour)
    cv2.imwrite(str(folder / "b.png"), textured_image(48, 40).astype(np.uint16) * 200)


def _each(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Every file of the folder, until one is refused."""
    return lambda folder: [read(path) for path in sorted(folder.iterdir())]


FORMATS = {
    item.name: item
    for item in (
        Format("map", _map, _read_map),
        Format("large-map", _map, _read_large_map),
        Format("map-forged", _map_with_provenance, _read_large_map, damage=_forged_map),
        Format("bag-mcap", _bag("mcap", "a"), _read_bag("a")),
        Format("bag-sqlite3", _bag("sqlite3", "a"), _read_bag("a")),
        Format("bag-rosbag1", _bag("rosbag1", "a.bag"), _read_bag("a.bag")),
        Format("onnx", _onnx, _read_onnx),
        Format("onnx-of-before", _onnx_of_before, _read_onnx),
        Format("onnx-graph", _onnx_graph, _read_onnx_graph, damage=_damaged_graph),
        Format("tensorflow", _checkpoint, _read_checkpoint),
        Format("matlab", _matlab, _each(lambda path: read_matlab(path, "net"))),
        Format("colmap-binary", _colmap(False), import_colmap),
        Format("colmap-text", _colmap(True), read_model),
        Format("calibration", _calibration, _each(camera_from_file)),
        Format("tum", _tum, _each(read_tum)),
        Format("queries", _queries, _each(read_query_list)),
        Format("nvm", _nvm, _each(read_nvm), (".nvm",)),
        Format("positions", _positions, _each(read_positions)),
        Format("npz-features", _npz, _read_npz_features),
        Format("pairs", _pairs, _each(read_pairs)),
        Format("photo", _photos, _each(read_image)),
    )
}
