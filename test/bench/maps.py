"""Maps of one recording made in several ways, side by side, and by plain COLMAP.

    python test/bench/maps.py BAG [--ways given,drifting,odometry,distance,sift] [--matching sequential] [--keep DIR]

BAG has images and poses that are believed. Each way is a function that gets the recording and returns a `Row`; what a
way must not know is kept from it. Odometry is made of the poses, with 1 % and 0.5 degrees per metre of drift. The table
says how many images registered, the error of the trajectory (evo: APE after SE(3) alignment, so scale counts), the
error of the scale, and what the map is like.
COLMAP gets the images that "images, scale from odometry" chose, and is aligned by a similarity: it has no scale.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pycolmap
from evo.core.metrics import APE, PoseRelation, StatisticsType
from evo.core.trajectory import PosePath3D

from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.colmap_cameras import to_pycolmap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bag_writer import open_writer
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.options import BagOptions, PoseOptions
from hfnet_core.recordings.tum import write_tum
from hfnet_core.synthetic.odometry import drifted

Poses = Mapping[int, Pose]


@dataclass(frozen=True)
class Row:
    """One way's result. poses: map_from_camera by image number. metric: whether its scale means anything."""

    name: str
    images: int
    poses: Poses
    landmarks: int
    track: float
    reprojection_px: float
    seconds: float
    megabytes: float
    metric: bool = True


@dataclass(frozen=True)
class Recording:
    """The recording, the believed poses of its images, and a folder to work in."""

    bag: Path
    truth: Poses
    folder: Path
    extractor: Extractor
    threads: int
    matching: str


def given(recording: Recording) -> Row:
    """Poses as the bag has them."""
    return built("given", "poses given", recording, MapBuildConfig(pose_mode="given"))


def drifting(recording: Recording) -> Row:
    """Odometry that drifts by 1 % and 0.5 degrees per metre."""
    options = with_drift(recording)
    return built("drifting", "odometry that drifts", recording, MapBuildConfig(pose_mode="drifting"), options)


def odometry(recording: Recording) -> Row:
    """Images alone, and the scale from the same odometry."""
    options = with_drift(recording)
    return built("odometry", "images, scale from odometry", recording, MapBuildConfig(pose_mode="images"), options)


def distance(recording: Recording) -> Row:
    """Images alone and one known distance, between the two images taken furthest apart; the bag has no poses."""
    first, second = furthest(recording.truth)
    metres = np.linalg.norm(recording.truth[first].translation - recording.truth[second].translation)
    config = MapBuildConfig(pose_mode="images", known_distance=f"{first} {second} {metres:.6f}")
    unposed = replace(recording, bag=without_poses(recording))
    return built("distance", "images, one known distance", unposed, config)


def sift(recording: Recording) -> Row:
    """Plain COLMAP on the same images: SIFT, matching, incremental mapper, calibration given and refined."""
    start = time.perf_counter()
    numbers = [number_of(name) for name in load_map(recording.folder / "odometry.hfmap").keyframe_names]
    with tempfile.TemporaryDirectory(dir=recording.folder) as folder:
        database, images, models = (Path(folder) / name for name in ("database.db", "images", "models"))
        images.mkdir()
        models.mkdir()
        camera = write_images(recording.bag, numbers, images)
        reader = pycolmap.ImageReaderOptions(camera_model=camera.model_name, camera_params=camera.params_to_string())
        extraction = pycolmap.FeatureExtractionOptions(num_threads=recording.threads, use_gpu=False)
        pycolmap.extract_features(
            database, images, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=reader,
            extraction_options=extraction,
        )  # fmt: skip
        matching = pycolmap.FeatureMatchingOptions(num_threads=recording.threads, use_gpu=False)
        match = pycolmap.match_exhaustive if recording.matching == "exhaustive" else pycolmap.match_sequential
        match(database, matching_options=matching)
        options = pycolmap.IncrementalPipelineOptions(num_threads=recording.threads, random_seed=0)
        found = pycolmap.incremental_mapping(database, images, models, options)
        best = max(found.values(), key=lambda model: model.num_reg_images())
        size = sum(file.stat().st_size for file in (models / "0").iterdir()) if (models / "0").exists() else 0
    poses = {
        int(Path(best.image(index).name).stem): Pose.from_matrix(best.image(index).cam_from_world().inverse().matrix())
        for index in best.reg_image_ids()
    }
    return Row(
        f"COLMAP, SIFT, {recording.matching}", len(numbers), poses, best.num_points3D(),
        best.compute_mean_track_length(), rmse_of(best), time.perf_counter() - start, size / 1e6, metric=False,
    )  # fmt: skip


WAYS: dict[str, Callable[[Recording], Row]] = {
    "given": given, "drifting": drifting, "odometry": odometry, "distance": distance, "sift": sift,
}  # fmt: skip


def built(key: str, name: str, recording: Recording, config: MapBuildConfig, options: BagOptions | None = None) -> Row:
    """A row for a map that hfnet builds of the recording; the map is kept as KEY.hfmap."""
    start = time.perf_counter()
    made = build_map([recording.bag], recording.extractor, config, options)
    path = recording.folder / f"{key}.hfmap"
    save_map(made, path)
    seconds = time.perf_counter() - start
    statistics = made.provenance["statistics"]
    images = made.provenance.get("structure", {}).get("images", made.keyframes)
    poses = {number_of(key): made.map_from_camera(index) for index, key in enumerate(made.keyframe_names)}
    return Row(
        name, images, poses, made.landmarks, statistics["mean_track_length"], statistics["reprojection_rmse_px"],
        seconds, path.stat().st_size / 1e6,
    )  # fmt: skip


def with_drift(recording: Recording) -> BagOptions:
    """Odometry instead of the bag's poses."""
    with Bag(recording.bag) as bag:
        known = [(item.stamp_ns, item.map_from_camera) for item in bag.timeline() if item.map_from_camera is not None]
    path = recording.folder / "odometry.tum"
    write_tum(path, zip([stamp for stamp, _ in known], drifted([pose for _, pose in known]), strict=True))
    return BagOptions(poses=PoseOptions(poses=path))


def without_poses(recording: Recording) -> Path:
    """The bag again with its images and calibration alone."""
    path = recording.folder / "without_poses"
    with open_writer(path, "mcap", overwrite=True) as writer, Bag(recording.bag) as bag:
        for frame in bag.frames():
            writer.image(frame.stamp_ns, frame.image)
            writer.camera_info(frame.stamp_ns, frame.camera)
    return path


def furthest(truth: Poses) -> tuple[int, int]:
    """The two images taken furthest apart."""
    numbers = sorted(truth)
    centres = np.array([truth[number].translation for number in numbers])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    first, second = np.unravel_index(np.argmax(apart), apart.shape)
    return numbers[first], numbers[second]


def number_of(keyframe: str) -> int:
    return int(keyframe.rsplit("/", 1)[1])


def write_images(bag_path: Path, numbers: Sequence[int], folder: Path) -> pycolmap.Camera:
    """The images as PNG files named by their number, and their camera."""
    with Bag(bag_path) as bag:
        for frame in bag.frames(numbers):
            pixels = frame.image if frame.image.ndim == 2 else cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{frame.index:06d}.png"), pixels)
            camera = frame.camera
    return to_pycolmap(camera)


def rmse_of(model: pycolmap.Reconstruction) -> float:
    """Root mean square over all observations, as our own statistics have it."""
    squares = []
    for image_id in model.reg_image_ids():
        image = model.image(image_id)
        camera = model.camera(image.camera_id)
        for point in image.points2D:
            if point.has_point3D():
                seen = image.cam_from_world() * model.point3D(point.point3D_id).xyz
                squares.append(np.sum((camera.img_from_cam(seen) - point.xy) ** 2))
    return float(np.sqrt(np.mean(squares)))


def errors(row: Row, truth: Poses) -> tuple[float, float]:
    """(APE RMSE in metres after SE(3) alignment, or a similarity without scale; relative error of the scale)."""
    shared = sorted(set(row.poses) & set(truth))
    paths = [PosePath3D(poses_se3=[poses[number].matrix() for number in shared]) for poses in (truth, row.poses)]
    scaled = PosePath3D(poses_se3=[row.poses[number].matrix() for number in shared])
    _, _, scale = scaled.align(paths[0], correct_scale=True)
    if row.metric:
        paths[1].align(paths[0])
    else:
        paths[1] = scaled
    metric = APE(PoseRelation.translation_part)
    metric.process_data((paths[0], paths[1]))
    return float(metric.get_statistic(StatisticsType.rmse)), abs(float(scale) - 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bag", type=Path, help="recording with images, calibration and poses")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"some of {', '.join(WAYS)} (default: all)")
    parser.add_argument("--matching", choices=("exhaustive", "sequential"), default="exhaustive", help="of COLMAP")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of everything (default 1)")
    parser.add_argument("--keep", type=Path, help="folder to leave the maps in")
    arguments = parser.parse_args()
    wanted = arguments.ways.split(",")
    unknown = [name for name in wanted if name not in WAYS]
    if unknown or ("sift" in wanted and "odometry" not in wanted[: wanted.index("sift")]):
        parser.error(f"{', '.join(unknown) or 'sift'}: choose from {', '.join(WAYS)}; sift comes after odometry")
    with Bag(arguments.bag) as bag:
        bag.require_poses()
        stamps = enumerate(bag.timeline())
        truth = {index: stamp.map_from_camera for index, stamp in stamps if stamp.map_from_camera is not None}
    backend = open_backend(None, threads=arguments.threads)
    config = MapBuildConfig()
    extractor = Extractor(backend, config.extraction)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        recording = Recording(
            arguments.bag, truth, arguments.keep or Path(folder), extractor, arguments.threads, arguments.matching
        )
        print(
            f"{arguments.bag.name}: {len(truth)} images with poses, {arguments.threads} thread(s)\n"
            f"{'way':30}{'images':>9}{'APE cm':>8}{'scale %':>9}{'landmarks':>11}{'track':>7}{'RMSE px':>9}"
            f"{'time s':>8}{'MB':>7}"
        )
        for name in wanted:
            row = WAYS[name](recording)
            ape_m, scale = errors(row, truth)
            print(
                f"{row.name:30}{f'{len(row.poses)}/{row.images}':>9}{100 * ape_m:>7.2f}{' ' if row.metric else '*'}"
                f"{f'{100 * scale:.2f}' if row.metric else '-':>9}{row.landmarks:>11,}{row.track:>7.2f}"
                f"{row.reprojection_px:>9.3f}{row.seconds:>8.1f}{row.megabytes:>7.1f}",
                flush=True,
            )  # fmt: skip
    print("* after a similarity alignment: COLMAP knows no scale")


if __name__ == "__main__":
    main()
