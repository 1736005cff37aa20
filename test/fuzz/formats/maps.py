"""Maps, folders of them, and what they are made of: small honest files, and what reads them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from forgery import forged, forged_json, forged_tensors, opened, sealed
from mutations import mutated_files
from scene import CAMERA, MODEL_HASH, Scene, looking, walk

from hfnet_core.config import LocalizerConfig, MapBuildConfig
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.several.finder import MapFinder
from hfnet_core.maintenance.prune import Budget, prune_map
from hfnet_core.maintenance.summary import summarize
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.live.solving import build_from_drive
from hfnet_core.maps.library.library import LoadedMap, MapLibrary
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.maps.visits.counts import Counts, carried, counted, counts_of, weights
from hfnet_core.types import Ranges

__all__ = [
    "damaged_drive",
    "forged_arrays",
    "forged_map",
    "make_drive",
    "make_library",
    "make_map",
    "make_map_with_provenance",
    "make_map_with_visits",
    "read_drive",
    "read_large_map",
    "read_library",
    "read_map",
    "read_map_with_visits",
    "scene",
]

Files = Mapping[str, bytes]
_QUERY = looking(0.3, 0.2, 40)


@cache
def scene() -> Scene:
    return Scene.make(points=600)


def make_map(folder: Path) -> None:
    save_map(scene().build_map(walk(12)), folder / "a.hfmap")


def make_map_with_provenance(folder: Path) -> None:
    """With everything in it that a map may say beside its arrays."""
    make_map(folder)
    header, description, arrays = opened((folder / "a.hfmap").read_bytes())
    turn = {"enu_from_map_xyzw": [0.0, 0.0, 0.0, 1.0], "scale": 1.0, "residual_m": 0.5, "fixes": 9, "outliers": 1}
    place = {"latitude_deg": 47.0, "longitude_deg": 8.0, "altitude_m": 400.0, **turn, "source": "fix"}
    told = {"georeference": place, "recordings": [{"name": "a", "camera_frame": "camera"}]}
    description["provenance"] = {**description["provenance"], **told}
    description["given_cameras"] = description["cameras"]
    (folder / "a.hfmap").write_bytes(sealed(header, description, arrays))


def make_map_with_visits(folder: Path) -> None:
    """With every array that a map may have."""
    built = scene().build_map(walk(12))
    hits = np.arange(built.landmarks, dtype=np.int32) % 5
    built = counted(built, Counts(hits, hits[::-1]))
    alike = {"alike_keyframes": np.array([3], np.int32), "alike_poses": built.keyframe_poses[7:8]}
    sigmas = {"landmark_sigmas_m": np.full(built.landmarks, 0.05, np.float32)}
    scaled = built.landmark_descriptors[None].astype(built.observation_descriptors.dtype)
    scales = {"scale_factors": np.array([2.0], np.float32), "scaled_descriptors": scaled}
    save_map(replace(built, **alike, **sigmas, **scales), folder / "a.hfmap")


def forged_map(honest: Files, rng: random.Random) -> dict[str, bytes]:
    return {"a.hfmap": forged(honest["a.hfmap"], rng)}


def forged_arrays(honest: Files, rng: random.Random) -> dict[str, bytes]:
    return {"a.hfmap": forged_tensors(honest["a.hfmap"], rng)}


def read_map(folder: Path) -> None:
    path = folder / "a.hfmap"
    summarize(load_map(path), path)


def read_large_map(folder: Path) -> None:
    """As one that is too large for its checksums to be compared: an answer or an error."""
    localizer = Localizer(load_map(folder / "a.hfmap", verify=False))
    features = scene().view(_QUERY, seed=5)[0]
    localizer.localize([View(features, CAMERA)])
    localizer.localize([View(features, CAMERA)], _QUERY)


def read_map_with_visits(folder: Path) -> None:
    """What counts visits, follows them through a change, and keeps what was found most."""
    path = folder / "a.hfmap"
    landmark_map = load_map(path)
    summarize(landmark_map, path)
    Localizer(landmark_map).localize([View(scene().view(_QUERY, seed=5)[0], CAMERA)])
    counts = counts_of(landmark_map)
    weights(counts)
    smaller = prune_map(landmark_map, counts.hits.astype(np.int64), Budget(max_landmarks=150, min_per_keyframe=20))
    save_map(counted(smaller, carried(landmark_map, counts, smaller)), folder / "b.hfmap")


def make_library(folder: Path) -> None:
    """Of two floors."""
    for number, name in enumerate(("cellar", "hall")):
        built = Scene.make(points=600, seed=number).build_map(walk(12))
        save_map(replace(built, frame_id=name), folder / f"{name}.hfmap")


def read_library(folder: Path) -> None:
    """A map at a time in memory, so that both are read twice."""
    library = MapLibrary(folder, lambda path: LoadedMap(load_map(path, MODEL_HASH, verify=False), path), 1)
    MapFinder(library, LocalizerConfig()).find([View(scene().view(_QUERY, seed=5)[0], CAMERA)])


def make_drive(folder: Path) -> None:
    """Six keyframes with depth, and what a build has computed of them."""
    info = SimpleNamespace(name="scene", version="1", model_hash=MODEL_HASH)
    place, drive = Scene.make(points=300), DriveFolder(folder / "a.hfdrive")
    with drive.recording(info, MapBuildConfig(refine_intrinsics=False)):
        drive.add_source(Source(0, 0, "given", "/image", "camera", "/camera_info", "/odom", "map"))
        for index, pose in enumerate(walk(24)[:6]):
            features, points = place.view(pose, seed=index)
            depths = pose.inverse().apply(place.points[points])[:, 2].astype(np.float32)
            depths[points < 0] = np.nan
            drive.add(
                RecordedKeyframe(
                    Keyframe(
                        f"0/{index}", 10**9 * (index + 1), 0, CAMERA, pose, features, f"{index:064x}",
                        odometry_from_camera=pose, rig_from_camera=pose, drive=0, ranges=Ranges(depths, 0.01 * depths),
                    ),
                    index + 1,
                )
            )  # fmt: skip
    build_from_drive(drive)


def damaged_drive(honest: Files, rng: random.Random) -> dict[str, bytes]:
    """Mostly with checksums that fit: without, a keyframe is left out, and that is all."""
    if rng.random() < 0.2:
        return mutated_files(honest, rng, (".json",))
    tables = [name for name in honest if name.endswith(".json")]
    others = sorted(set(honest) - set(tables) - {name for name in honest if name.endswith("/lock")})
    name = rng.choice(tables if rng.random() < 0.3 else others)
    return {**honest, name: (forged_json if name in tables else forged_tensors)(honest[name], rng)}


def read_drive(folder: Path) -> None:
    """As `hfnet map build` does, and the node before it goes on with a drive."""
    drive = DriveFolder(folder / "a.hfdrive")
    save_map(build_from_drive(drive), folder / "a.hfmap")
    drive.last(0)
