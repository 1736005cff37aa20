"""Every reader of files that strangers may give us, with a small honest file of its kind."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the builders of the tests

from helpers import textured_image
from mutations import mutated_files
from scene import walk

from formats import exchange, maps, models, recordings
from hfnet_core.evaluation.query_list import read_query_list
from hfnet_core.features.exchange.hloc_files import read_pairs
from hfnet_core.images.reading import read_image
from hfnet_core.maintenance.align import read_positions
from hfnet_core.maps.colmap import export_colmap, import_colmap
from hfnet_core.maps.colmap_reading import read_model
from hfnet_core.maps.exchange.nvm import read_nvm
from hfnet_core.recordings.calibration import camera_from_file
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


def _colmap(text: bool) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        export_colmap(maps.scene().build_map(walk(12)), folder / "model", text=text)
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
        Format("map", maps.make_map, maps.read_map),
        Format("large-map", maps.make_map, maps.read_large_map),
        Format("map-forged", maps.make_map_with_provenance, maps.read_large_map, damage=maps.forged_map),
        Format("map-visits", maps.make_map_with_visits, maps.read_map_with_visits, damage=maps.forged_arrays),
        Format("map-folder", maps.make_library, maps.read_library),
        Format("drive-folder", maps.make_drive, maps.read_drive, damage=maps.damaged_drive),
        Format("bag-mcap", recordings.make_bag("mcap", "a"), recordings.read_bag("a")),
        Format("bag-sqlite3", recordings.make_bag("sqlite3", "a"), recordings.read_bag("a")),
        Format("bag-rosbag1", recordings.make_bag("rosbag1", "a.bag"), recordings.read_bag("a.bag")),
        Format(
            "weak-folder", recordings.make_stretches, recordings.read_stretches, damage=recordings.damaged_stretches
        ),
        Format("depth", recordings.make_depth, recordings.read_depth, damage=recordings.damaged_message),
        Format("compressed-depth", recordings.make_compressed_depth, recordings.read_compressed_depth),
        Format("onnx", models.make_onnx, models.read_onnx),
        Format("onnx-of-before", models.make_onnx_of_before, models.read_onnx),
        Format("onnx-graph", models.make_onnx_graph, models.read_onnx_graph, damage=models.damaged_graph),
        Format("tensorflow", models.make_checkpoint, models.read_checkpoint),
        Format("matlab", models.make_matlab, _each(lambda path: read_matlab(path, "net"))),
        Format("colmap-binary", _colmap(False), import_colmap),
        Format("colmap-text", _colmap(True), read_model),
        Format("calibration", _calibration, _each(camera_from_file)),
        Format("tum", _tum, _each(read_tum)),
        Format("queries", _queries, _each(read_query_list)),
        Format("nvm", _nvm, _each(read_nvm), (".nvm",)),
        Format("positions", _positions, _each(read_positions)),
        Format("npz-features", exchange.make_npz, exchange.read_npz_features),
        Format("h5", exchange.make_h5, exchange.read_h5),
        Format("calibrate", exchange.make_hypotheses, exchange.read_calibration_inputs),
        Format("pairs", _pairs, _each(read_pairs)),
        Format("photo", _photos, _each(read_image)),
    )
}
