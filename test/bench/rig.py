"""What a second camera is worth: `python test/bench/rig.py --output FOLDER`.

A rig with cameras to the left and to the right is carried through the rendered courtyard; both go into one map
(FOLDER/rig.hfmap, made once). It comes back on another day, in other light: each camera alone, one that looks ahead,
and the two together are localized from the same features, globally and tracking. Latencies are of localization alone,
in one run. Errors are those of the rig's centre.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.benchmarks.localization_bench import foreign_images
from hfnet_core.config import ExtractorConfig, LocalizerConfig, MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.reading import read_image
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.localizer import Localizer
from hfnet_core.localization.tracking.tracker import Tracker
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bag_writer import WriterTopics, open_writer
from hfnet_core.recordings.options import BagOptions, PoseOptions, options_per_camera
from hfnet_core.synthetic.courtyard import courtyard
from hfnet_core.synthetic.lighting import bake
from hfnet_core.synthetic.rendering import Renderer
from hfnet_core.synthetic.sensor import Exposer
from hfnet_core.synthetic.walk import CAMERA, MAP_PASS, QUERY_PASS, look
from hfnet_core.types import Localization, Localized

AHEAD, LEFT, RIGHT = range(3)
NAMES = ("left", "right")


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Of AHEAD, LEFT, RIGHT at one time."""

    stamp_s: float
    map_from_rig: Pose
    views: tuple[View, ...]

    def alone(self, camera: int) -> list[View]:
        """One camera as if it were not on a rig."""
        return [View(self.views[camera].features, CAMERA)]


def extrinsics(yaw_deg: float, baseline_m: float) -> tuple[Pose, ...]:
    """rig_from_camera of AHEAD, LEFT, RIGHT; the rig's axes are those of the camera that looks ahead."""
    rig_from_level = look(np.zeros(3), 0.0).inverse()
    turn, side = np.radians(yaw_deg), np.array([0.0, baseline_m / 2, 0.0])
    return Pose(), rig_from_level @ look(side, turn), rig_from_level @ look(-side, -turn)


def frame_sets(mounts: tuple[Pose, ...], extractor: Extractor, every: int) -> Iterator[FrameSet]:
    day = QUERY_PASS
    renderer = Renderer(CAMERA, bake(courtyard(rearranged=day.rearranged), day.lighting, day.seed))
    exposers = [Exposer(day.sensor, CAMERA, day.seed + number) for number in range(len(mounts))]
    for time_s in day.stamps_s[::every]:
        pose = day.path.at(time_s)
        pictures = [exposer.expose(renderer.render(pose @ mount), np.zeros(3))
                    for exposer, mount in zip(exposers, mounts, strict=True)]  # fmt: skip
        found = (extractor.extract(picture) for picture in pictures)
        views = tuple(View(features, CAMERA, mount) for features, mount in zip(found, mounts, strict=True))
        yield FrameSet(float(time_s), pose, views)


def build(folder: Path, mounts: tuple[Pose, ...], extractor: Extractor, every: int) -> Path:
    """Record the walk with the two cameras, then make one map of them; what is there already is used."""
    bag, path = folder / "rig_bag", folder / "rig.hfmap"
    if not bag.exists():
        record(bag, mounts, every)
    if not path.exists():
        start = time.perf_counter()
        common = BagOptions(poses=PoseOptions(pose_frame="base"))
        options = options_per_camera(common, image_topic=[f"/{name}/image/compressed" for name in NAMES])
        config = MapBuildConfig(keyframe_distance_m=0.25)
        save_map(build_map([bag], extractor, config, options), path)
        print(f"map built in {time.perf_counter() - start:.0f} s")
    return path


def record(bag: Path, mounts: tuple[Pose, ...], every: int) -> None:
    day = MAP_PASS
    renderer = Renderer(CAMERA, bake(courtyard(rearranged=day.rearranged), day.lighting, day.seed))
    exposers = [Exposer(day.sensor, CAMERA, day.seed + number) for number in range(len(NAMES))]
    with open_writer(bag, "mcap") as writer:
        kind = writer.type
        for time_s in day.stamps_s[::every]:
            stamp_ns, pose = day.stamp_ns(time_s), day.path.at(time_s)
            for name, mount, exposer in zip(NAMES, mounts[1:], exposers, strict=True):
                writer.topics = WriterTopics(compressed=f"/{name}/image/compressed", camera_info=f"/{name}/camera_info",
                                             camera_frame=name)  # fmt: skip
                picture = exposer.expose(renderer.render(pose @ mount), np.zeros(3))
                writer.camera_info(stamp_ns, CAMERA)
                writer.compressed(stamp_ns, cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes(), "jpeg")
            writer.pose(stamp_ns, pose)
        placed = []
        for name, mount in zip(NAMES, mounts[1:], strict=True):
            (x, y, z), (qx, qy, qz, qw) = mount.translation.tolist(), mount.quat_xyzw().tolist()
            transform = kind("geometry_msgs/msg/Transform")(
                translation=kind("geometry_msgs/msg/Vector3")(x=x, y=y, z=z),
                rotation=kind("geometry_msgs/msg/Quaternion")(x=qx, y=qy, z=qz, w=qw),
            )
            placed.append(kind("geometry_msgs/msg/TransformStamped")(
                header=writer.header(stamp_ns, "base"), child_frame_id=name, transform=transform))  # fmt: skip
        writer.write("/tf_static", "tf2_msgs/msg/TFMessage", stamp_ns, transforms=placed)


def report(name: str, found: list[FrameSet], localize: Callable[[FrameSet], Localization], centre: Pose) -> float:
    """Prints a line, returns the median latency. centre: rig_from_localized."""
    errors, seconds, squares = [], [], []
    for frames in found:
        start = time.perf_counter()
        result = localize(frames)
        seconds.append(time.perf_counter() - start)
        if isinstance(result, Localized):
            truth = frames.map_from_rig @ centre
            errors.append(pose_error(result.map_from_camera @ centre.inverse(), frames.map_from_rig))
            turn = result.map_from_camera.rotation @ truth.rotation.T
            vee = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
            error = np.r_[result.map_from_camera.translation - truth.translation, vee]
            squares.append(float(error @ np.linalg.solve(result.covariance, error)))
        else:
            errors.append((np.inf, np.inf))
    metres, degrees = np.array(errors).T
    known = np.isfinite(metres)
    recall = [100 * np.mean((metres <= m) & (degrees <= 5)) for m in (0.05, 0.25)]
    wrong = int((known & ((metres > 0.5) | (degrees > 10))).sum())
    median = np.median(1e3 * np.array(seconds))
    print(
        f"{name:<22} {recall[0]:5.1f} % {recall[1]:5.1f} %   {100 * np.median(metres[known]):5.2f} cm "
        f"{np.median(degrees[known]):5.3f} deg   {100 * np.quantile(metres[known], 0.95):6.2f} cm   {wrong:3d}   "
        f"{np.mean(squares):5.1f}   {median:6.1f} ms"
    )
    return float(median)


def against_foreign(
    folder: Path,
    pairs: int,
    found: list[FrameSet],
    extractor: Extractor,
    localizer: Localizer,
    mounts: tuple[Pose, ...],
) -> None:
    """Pairs of images from elsewhere must give no pose; one beside a true image must not turn its pose wrong."""
    images = [extractor.extract(cv2.resize(image, (CAMERA.width, CAMERA.height)))
              for image in foreign_images(folder, 2 * pairs, read_image)]  # fmt: skip
    left, right = ([View(image, CAMERA, mounts[camera]) for image in images] for camera in (LEFT, RIGHT))
    accepted = sum(isinstance(localizer.localize(two), Localized) for two in zip(left[::2], right[1::2], strict=True))
    outcomes = {"right": 0, "wrong": 0, "refused": 0}
    for number, frames in enumerate(found):
        other = number % len(images)
        beside = (frames.views[LEFT], right[other]) if number % 2 else (left[other], frames.views[RIGHT])
        result = localizer.localize(beside)
        if isinstance(result, Localized):
            metres, degrees = pose_error(result.map_from_camera, frames.map_from_rig)
            outcomes["wrong" if metres > 0.5 or degrees > 10 else "right"] += 1
        else:
            outcomes["refused"] += 1
    print(f"{len(images) // 2} foreign pairs: {accepted} accepted; one of their images beside a true image: {outcomes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--every", type=int, default=3, help="of the pass's frames")
    parser.add_argument("--yaw", type=float, default=45.0, help="of the two cameras from straight ahead, degrees")
    parser.add_argument("--baseline", type=float, default=0.2, help="between them, metres")
    parser.add_argument("--keypoints", type=int, default=1000)
    parser.add_argument("--foreign-images", type=Path, help="folder of images from elsewhere")
    parser.add_argument("--pairs", type=int, default=100, help="of foreign images")
    given = parser.parse_args()
    backend = open_backend(None)
    extractor = Extractor(backend, ExtractorConfig(max_keypoints=given.keypoints))
    given.output.mkdir(parents=True, exist_ok=True)
    mounts = extrinsics(given.yaw, given.baseline)
    dense = Extractor(backend, MapBuildConfig().extraction)
    landmark_map = load_map(build(given.output, mounts, dense, 2), backend.info.model_hash)
    found = list(frame_sets(mounts, extractor, given.every))
    config = LocalizerConfig()
    print(f"{len(found)} frame_sets, {landmark_map.keyframes} keyframes, cameras at +-{given.yaw:.0f} degrees")
    print(f"{'':<22} {'5 cm':>7} {'25 cm':>7}   {'median error':>18}   {'95 %':>9}   wrong  NEES   latency")
    localizer = Localizer(landmark_map, config)
    alone = ((AHEAD, "ahead"), (LEFT, "left"), (RIGHT, "right"))

    def by_itself(camera: int) -> Callable[[FrameSet], Localization]:
        return lambda frames: localizer.localize(frames.alone(camera))

    def tracked(camera: int) -> Callable[[FrameSet], Localization]:
        tracker = Tracker(localizer)
        return lambda frames: tracker.process(frames.alone(camera), frames.stamp_s)

    tracker = Tracker(localizer)
    modes = {"global": (by_itself, lambda frames: localizer.localize(frames.views[1:])),
             "tracking": (tracked, lambda frames: tracker.process(frames.views[1:], frames.stamp_s))}  # fmt: skip
    for mode, (of_one, of_rig) in modes.items():
        medians = [report(f"{name}, {mode}", found, of_one(camera), mounts[camera]) for camera, name in alone]
        rig = report(f"left + right, {mode}", found, of_rig, Pose())
        print(f"latency of the rig / of one camera: {rig / np.mean(medians):.2f}")
    if given.foreign_images is not None:
        against_foreign(given.foreign_images, given.pairs, found, extractor, localizer, mounts)
    backend.close()


if __name__ == "__main__":
    main()
