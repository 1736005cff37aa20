"""Recordings, kept stretches of a drive, depth images: small honest ones, and what reads them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
from bags import write_bag
from forgery import forged_json
from helpers import textured_image
from mutations import mutated, mutated_files

from hfnet_core.geometry import Pose
from hfnet_core.images.depth import decode_compressed_depth, decode_depth, ranges_at
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions
from hfnet_core.recordings.stretches.folder import KeptImage, StretchFolder
from hfnet_core.recordings.stretches.reading import recordings_of
from hfnet_core.types import Camera

__all__ = [
    "damaged_message",
    "damaged_stretches",
    "make_bag",
    "make_compressed_depth",
    "make_depth",
    "make_stretches",
    "read_bag",
    "read_compressed_depth",
    "read_depth",
    "read_stretches",
]

Files = Mapping[str, bytes]
_WIDTH, _HEIGHT = 40, 30
_KEYPOINTS_PX = np.array([[0.0, 0.0], [20.0, 15.0], [39.0, 29.0], [-1.0, 31.0]])


def make_bag(storage: str, name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        write_bag(folder / name, storage, frames=3)

    return build


def read_bag(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with Bag(folder / name, BagOptions(camera_optional=True)) as bag:
            return [frame.map_from_camera for frame in bag.frames()]

    return read


def make_stretches(folder: Path) -> None:
    """As a node keeps them: with odometry and without, in colour and in 16 bits."""
    kept, camera = StretchFolder(folder / "weak", 10**6), Camera("PINHOLE", 48, 40, (50.0, 50.0, 24.0, 20.0))
    gray = textured_image(48, 40)
    for index in range(4):
        where = Pose(translation=np.array([0.1 * index, 0.0, 0.0])) if index < 2 else None
        pixels = np.dstack([gray] * 3) if index % 2 else gray.astype(np.uint16) * 200
        kept.keep(KeptImage(10**9 * (index + 1), pixels, camera, where, "" if index < 2 else "left"))


def damaged_stretches(honest: Files, rng: random.Random) -> dict[str, bytes]:
    """The small files that tell of the others are hit more often than their share, and named otherwise."""
    files = dict(honest)
    name = rng.choice(sorted(files))
    if rng.random() < 0.2:
        other = rng.choice(("x.jpg", "1.5.png", "-1.jpg", "9e99.jpg", "a\n.jpg"))
        files[f"{name.rpartition('/')[0]}/{other}"] = files.pop(name)
        return files
    tables = [name for name in files if name.endswith(".json")]
    if rng.random() < 0.3:
        name = rng.choice(tables)
        return {**files, name: forged_json(files[name], rng)}
    return mutated_files(files, rng, (".json", ".txt"))


def read_stretches(folder: Path) -> None:
    """As `hfnet map update` does; what is kept beyond the limit goes."""
    with recordings_of([folder / "weak"]) as bags:
        for path in bags:
            with Bag(path, BagOptions(camera_optional=True)) as bag:
                list(bag.frames())
    StretchFolder(folder / "weak", 1).drives()


def _depth_mm() -> np.ndarray:
    return (1000 + 10 * np.arange(_WIDTH * _HEIGHT).reshape(_HEIGHT, _WIDTH)).astype(np.uint16)


def make_compressed_depth(folder: Path) -> None:
    """Of millimetres with and without the header of compressedDepth, and of quantized inverse depth."""
    png = cv2.imencode(".png", _depth_mm())[1].tobytes()
    plain = {"16UC1; png": png, "16UC1; compressedDepth png": struct.pack("<iff", 0, 0.0, 0.0) + png}
    quantized = {"32FC1; compressedDepth png": struct.pack("<iff", 0, 5000.0, 0.5) + png}
    for index, (declared, data) in enumerate({**plain, **quantized}.items()):
        (folder / f"{index}.txt").write_text(declared)
        (folder / f"{index}.bin").write_bytes(data)


def read_compressed_depth(folder: Path) -> None:
    for path in sorted(folder.glob("*.bin")):
        declared = path.with_suffix(".txt").read_text(errors="replace")
        message = SimpleNamespace(format=declared, data=np.frombuffer(path.read_bytes(), np.uint8))
        ranges_at(decode_compressed_depth(message), _KEYPOINTS_PX, _WIDTH, _HEIGHT)


def make_depth(folder: Path) -> None:
    """Of each encoding that is read."""
    kinds = {"16UC1": _depth_mm(), "mono16": _depth_mm().byteswap(), "32FC1": _depth_mm().astype(np.float32) / 1000}
    for index, (encoding, pixels) in enumerate(kinds.items()):
        told = {"height": _HEIGHT, "width": _WIDTH, "encoding": encoding, "step": pixels.strides[0]}
        (folder / f"{index}.json").write_text(json.dumps({**told, "is_bigendian": int(encoding == "mono16")}))
        (folder / f"{index}.bin").write_bytes(pixels.tobytes())


def damaged_message(honest: Files, rng: random.Random) -> dict[str, bytes]:
    """Numbers of a message that lie within their types, and its bytes."""
    name = rng.choice(sorted(honest))
    if name.endswith(".bin"):
        return {**honest, name: mutated(honest[name], rng)}
    told = json.loads(honest[name])
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(("height", "width", "step", "is_bigendian", "encoding"))
        sizes = (0, 1, 2, 3, 29, 31, 39, 41, 65535, 2**31 - 1, 2**31, 2**32 - 1)
        encodings = ("16UC1", "mono16", "32FC1", "mono8", "", "64FC1", "16uc1", "\x1b[2J", "x" * 5000)
        told[key] = rng.choice(encodings) if key == "encoding" else rng.choice(sizes)
    return {**honest, name: json.dumps(told).encode()}


def read_depth(folder: Path) -> None:
    for path in sorted(folder.glob("*.bin")):
        told = json.loads(path.with_suffix(".json").read_text())
        message = SimpleNamespace(**told, data=np.frombuffer(path.read_bytes(), np.uint8))
        ranges_at(decode_depth(message), _KEYPOINTS_PX, _WIDTH, _HEIGHT)
