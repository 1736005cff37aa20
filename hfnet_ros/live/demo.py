"""The demo's second form: a robot maps the courtyard while it drives, is carried elsewhere, and finds itself in the map
it has just made. `python -m hfnet_ros.live.demo --output demo_output_live`.

Everything goes through real ROS topics: a player is the robot, with odometry that drifts; a mapping node makes the map;
a localization node beside it follows every version. Offline, `hfnet map build` makes the map of the same drive, and
both are judged by the same images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rich.table import Table
from std_srvs.srv import Trigger

from hfnet_core.config import EvaluationConfig, LiveConfig, MapBuildConfig
from hfnet_core.evaluation.metrics import Sample, Score, score
from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.evaluation.trajectory import nearest
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bag_writer import WriterTopics
from hfnet_core.recordings.options import BagOptions, PoseOptions
from hfnet_core.synthetic import walk
from hfnet_core.synthetic.odometry import drifted
from hfnet_core.terminal import SafeConsole
from hfnet_core.types import Localized
from hfnet_ros.demo import KEYFRAME_DISTANCE_M, DemoError, bars, busy, check, prepare, render_both, run_demo
from hfnet_ros.evaluate import Listener, QueryBag, Run, listen, node_inputs, report
from hfnet_ros.live.meanwhile import Meanwhile, table_of
from hfnet_ros.rclpy_typed import destroy_node
from hfnet_ros.replay.processes import Child, node_arguments
from hfnet_ros.replay.tape import Timing

__all__ = ["main"]

_MAPPER, _ODOMETRY = "/mapping", WriterTopics().odometry
_PUBLISH_S = 1.0
_BY_MAPPING, _BY_TF = "/mapping/pose", "map->odom on /tf"
_BY_IMAGES = "recognised in the newest version"
_PATIENCE_S = 600.0  # for a last adjustment on a busy machine
_TRUTH = BagOptions(poses=PoseOptions(pose_topic=WriterTopics().pose))
_OWN = (
    "map_pass",
    "query_pass",
    "live.hfmap",
    "live.hfdrive",
    "offline.hfmap",
    "logs",
    "evaluation.json",
    "evaluation.png",
    "evaluation.html",
    "poses_tum.txt",
)


def _odometry(day: walk.Pass) -> Sequence[Pose]:
    """Wheels slip and gyroscopes drift; on another day the odometry begins anew, where the robot stands then."""
    truth = [day.path.at(time_s) for time_s in day.stamps_s]
    said = drifted(truth, seed=day.seed)
    if day is walk.MAP_PASS:
        return said
    return [said[0].inverse() @ pose for pose in said]


@dataclass(frozen=True, eq=False)
class _Driven:
    """What the processes gave. timing: when the drive was played. meanwhile: images while mapping, with the poses that
    they were given by each means; carried: after the robot was carried elsewhere."""

    timing: Timing
    meanwhile: Mapping[str, Sequence[Sample]]
    carried: Run


def _drive(folder: Path, model: Path | None, rates: tuple[float, float], blind: Collection[int]) -> _Driven:
    """Map, then carry the robot elsewhere. rates: speeds at which both passes are played."""
    first, second = (QueryBag.read(folder / name, _TRUTH) for name in ("map_pass", "query_pass"))
    common: dict[str, object] = {
        **node_inputs(first),
        "map_file": (folder / "live.hfmap").resolve(),
        "odom_frame_id": WriterTopics().odometry_frame,
        "odom_topic": _ODOMETRY,
        **({"model_file": model.resolve()} if model is not None else {}),
    }
    mapping = {"build.keyframe_distance_m": KEYFRAME_DISTANCE_M, "publish_every_s": _PUBLISH_S}
    logs, node = folder / "logs", Node("demo")
    try:
        with ExitStack() as stack:
            mapper = stack.enter_context(
                Child("hfnet_ros.live.mapping_node", node_arguments(common | mapping), logs / "mapping_node.log")
            )
            localizer = stack.enter_context(
                Child(
                    "hfnet_ros.localization_node",
                    node_arguments(common | {"map_follow": True}),
                    logs / "localization_node.log",
                )
            )
            listening = Meanwhile(node, _MAPPER, (LiveConfig().global_frame_id, WriterTopics().odometry_frame))
            heard = _play(node, first, rates[0], (mapper, localizer), logs / "player_map.log", _MAPPER)
            timing = heard.timing  # it hears the second player, too
            if timing is None:
                raise DemoError("the player was not heard")
            meanwhile = {
                _BY_MAPPING: listening.mapped(first),
                _BY_TF: listening.by_tf(first, _odometry(walk.MAP_PASS), timing),
                _BY_IMAGES: heard.samples(first, EvaluationConfig()),
            }
            _finish(node, mapper)
            heard = _play(node, second, rates[1], (mapper, localizer), logs / "player_query.log", "/localization")
            carried = _judged(heard, second, blind)
    finally:
        destroy_node(node)
    return _Driven(timing, meanwhile, carried)


def _play(node: Node, bag: QueryBag, speed: float, nodes: Sequence[Child], log: Path, ready: str) -> Listener:
    """Play a pass once a node is ready for it; what was heard of the localization node."""
    config, listener = EvaluationConfig(), Listener(node)
    info = [bag.info.name] if bag.info is not None else []
    wait = ["--wait-for-subscriber", config.start_timeout_s, "--wait-for-localizer", ready, "--wait-for-evaluation"]
    topics = ["--topics", bag.image.name, *info, _ODOMETRY]
    listener.listen_to_player()
    with Child("hfnet_ros.player", [bag.path, "--now", "--rate", speed, *wait, *topics], log) as player:
        listen(listener, nodes[0], player, config)
        nodes[1].require_alive()
    return listener


def _finish(node: Node, mapper: Child) -> None:
    """End the drive, and wait for the last version of the map."""
    client = node.create_client(Trigger, f"{_MAPPER}/finish")
    until_s = time.monotonic() + _PATIENCE_S
    asked: Any = client.call_async(Trigger.Request())
    while not asked.done():
        mapper.require_alive()
        if time.monotonic() > until_s:
            raise DemoError(f"no last version of the map within {_PATIENCE_S:g} s")
        rclpy.spin_once(node, timeout_sec=0.2)
    answer = asked.result()
    if not answer.success:
        raise DemoError(answer.message)
    time.sleep(1.0)  # for the localization node to load it
    print(answer.message)


def _judged(listener: Listener, bag: QueryBag, blind: Collection[int] = ()) -> Run:
    config = EvaluationConfig()
    samples = listener.samples(bag, config, blind)
    return Run(samples, score(samples, config), dict(listener.status))


def _offline(folder: Path, model: Path | None, show: Callable[[str, int, int], None]) -> LandmarkMap:
    config = MapBuildConfig(keyframe_distance_m=KEYFRAME_DISTANCE_M)
    extractor = Extractor(open_backend(model, "onnxruntime"), config.extraction)
    options = BagOptions(poses=PoseOptions(pose_topic=_ODOMETRY))
    built = build_map([folder / "map_pass"], extractor, config, options, progress=show)
    save_map(built, folder / "offline.hfmap")
    return built


def _keyframe_errors_m(made: LandmarkMap, truth: QueryBag, timing: Timing | None) -> list[float]:
    """How far keyframes are from where they were taken. timing: of a map made while the recording was played."""
    stamps = [item.stamp_ns for item in truth.images]
    out = []
    for index, stamp_ns in enumerate(made.keyframe_stamps_ns.tolist()):
        own = nearest(stamps, stamp_ns if timing is None else timing.bag_ns(stamp_ns), 0.02)
        pose = None if own is None else truth.images[own].map_from_camera
        if pose is not None:
            out.append(pose_error(made.map_from_camera(index), pose)[0])
    return out


def _recall(map_file: Path, model: Path | None, query: QueryBag, blind: Collection[int]) -> Score:
    """Of the query's images, each after the one before, without ROS."""
    samples = []
    for answer in OfflineLocalizer(map_file, model).bag(query.path, query.options):
        assert answer.truth is not None
        found = answer.result
        pose = found.map_from_camera if isinstance(found, Localized) else None
        samples.append(Sample(answer.stamp_ns, answer.truth, pose, blind=answer.stamp_ns in blind))
    return score(samples, EvaluationConfig())


def _table(folder: Path, model: Path | None, timing: Timing, blind: Collection[int]) -> Table:
    """The map made while driving beside the one made of the recording."""
    first, second = (QueryBag.read(folder / name, _TRUTH) for name in ("map_pass", "query_pass"))
    rows: dict[str, Mapping[str, str]] = {}
    for name, played in (("live", timing), ("offline", None)):
        path = folder / f"{name}.hfmap"
        made, found = load_map(path), _recall(path, model, second, blind)
        errors = 100 * np.array(_keyframe_errors_m(made, first, played))
        rows[name] = {
            "keyframes": str(made.keyframes),
            "landmarks": str(made.landmarks),
            "keyframes off, median / most": f"{np.median(errors):.1f} / {errors.max():.1f} cm",
            "query images localized": f"{found.published} of {found.images}",
            "wrong": str(found.wrong),
        }
    table = Table("", "made while driving", "of the recording", title="Two maps of one drive")
    for title in rows["live"]:
        table.add_row(title, rows["live"][title], rows["offline"][title])
    return table


def _demo(folder: Path, model: Path | None, rate_hz: float) -> None:
    console = SafeConsole()
    prepare(folder, _OWN)
    with bars(console) as show:
        blind = render_both(folder, show, _odometry)
    rates = rate_hz / walk.QUERY_PASS.rate_hz, rate_hz / walk.QUERY_PASS.rate_hz
    with busy(console, "mapping while driving, then elsewhere"):
        driven = _drive(folder, model, rates, blind)
    with bars(console) as show:
        _offline(folder, model, show)
    query = QueryBag.read(folder / "query_pass", _TRUTH)
    title = "Courtyard, mapped while driving; then carried elsewhere on another day"
    report(driven.carried, query, folder, title=title, map_file=folder / "live.hfmap")
    console.print(_table(folder, model, driven.timing, blind))
    table, scores = table_of(driven.meanwhile)
    console.print(table)
    check(driven.carried)
    for name, found in scores.items():
        if found.wrong:
            raise DemoError(f"{name}: {found.wrong} wrong poses while mapping; see the logs")
    if scores[_BY_MAPPING].published < 0.9 * scores[_BY_MAPPING].images:
        raise DemoError("the mapping node did not say where the robot is; see the logs")


def main(args: Sequence[str] | None = None) -> int:
    """The demo; returns its exit status."""
    return run_demo(args, "hfnet_ros.live.demo", "Map while driving, be carried elsewhere, localize, judge.", _demo)


if __name__ == "__main__":
    sys.exit(main())
