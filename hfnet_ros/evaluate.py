"""Judge a localization node as a client sees it: `ros2 run hfnet_ros evaluate --bag QUERY`.

Listens to the poses that are published while a bag is played, and compares them with the bag's own. With --map it
starts the node and the player as processes of their own; without, it listens to what runs already. The offline twin
is `hfnet eval-bag`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from hfnet_core.config import EvaluationConfig, from_mapping
from hfnet_core.errors import DatasetError, HFNetError
from hfnet_core.evaluation.html_report import worst_frames, write_html
from hfnet_core.evaluation.metrics import Sample, Score, score
from hfnet_core.evaluation.picture import draw, thumbnails
from hfnet_core.evaluation.report import print_score, write_json
from hfnet_core.evaluation.trajectory import evo_statistics
from hfnet_core.extras import needed
from hfnet_core.files import make_folder
from hfnet_core.maps.storage import load_map
from hfnet_core.recordings.options import BagOptions, PoseOptions
from hfnet_core.recordings.tum import write_tum
from hfnet_ros.rclpy_typed import destroy_node, shut_down
from hfnet_ros.replay.listener import LOCALIZER, Listener, QueryBag
from hfnet_ros.replay.processes import Child, ChildError, node_arguments, use_wheels

__all__ = ["Listener", "Playback", "QueryBag", "Run", "listen", "main", "node_inputs", "report", "run"]


@dataclass(frozen=True, eq=False)
class Run:
    """What came of it. status: the node's last diagnostics."""

    samples: list[Sample]
    score: Score
    status: Mapping[str, str] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Images that the node passed over because a newer one was there, as it reports itself."""
        return int(self.status.get("images dropped", "0"))


@dataclass(frozen=True, eq=False)
class Playback:
    """A node and a player of our own. map_file: the node's map; parameters: further ones of it.

    rate_hz: images per second, None as recorded. topics: played besides images and calibration. logs: folder for what
    the processes write, None to forget it.
    """

    map_file: Path
    rate_hz: float | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    topics: Sequence[str] = ()
    logs: Path | None = None


def run(
    query: QueryBag,
    playback: Playback | None = None,
    config: EvaluationConfig | None = None,
    *,
    blind: Collection[int] = (),
    localizer: str = LOCALIZER,
) -> Run:
    """Play the query to a node and listen. rclpy must be initialised.

    playback: None listens to a node and a player that run already, until the player says that it has finished. blind:
    stamps of images that show nothing. localizer: name of the node that is judged. Raises DatasetError when nothing is
    heard, ChildError when a process fails.
    """
    config = config or EvaluationConfig()
    node = Node("evaluation")
    listener = Listener(node, localizer)
    try:
        if playback is None:
            _follow(listener, config)
        else:
            with ExitStack() as stack:
                logs = playback.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                arguments = node_arguments(
                    {"map_file": playback.map_file.resolve()} | node_inputs(query) | dict(playback.parameters)
                )
                log = logs / "localization_node.log"
                child = stack.enter_context(Child("hfnet_ros.localization_node", arguments, log))
                _await_active(listener, child, config)
                with Child(
                    "hfnet_ros.player", _player_arguments(query, playback, config), logs / "player.log"
                ) as player:
                    listen(listener, child, player, config)
        samples = listener.samples(query, config, blind)
    finally:
        destroy_node(node)
    if listener.timing is None and not listener.poses:
        raise DatasetError(f"{query.path}: neither the player nor a pose of {localizer} was heard; are they running?")
    return Run(samples, score(samples, config), dict(listener.status))


def node_inputs(query: QueryBag) -> dict[str, object]:
    """Parameters of a node that hears the query's images. Raises DatasetError where it has no calibration."""
    if query.info is None:
        raise DatasetError(f"{query.path}: has no camera_info, which the node needs; record it beside the images")
    compressed = query.image.type == "sensor_msgs/CompressedImage"
    return {
        "autostart": True,
        "image_topic": query.image.name.removesuffix("/compressed") if compressed else query.image.name,
        "image_transport": "compressed" if compressed else "raw",
        # Raw images exceed the shared memory that DDS gives best-effort messages; what is judged here is the node.
        "image_reliability": "best_effort" if compressed else "reliable",
        "camera_info_topic": query.info.name,
    }


def _await_active(listener: Listener, child: Child, config: EvaluationConfig) -> None:
    until_s = time.monotonic() + config.start_timeout_s
    while listener.status.get("state") != "active":
        child.require_alive()
        listener.require_started()
        if time.monotonic() > until_s:
            raise ChildError(
                f"the node was not active after {config.start_timeout_s:g} s: {listener.message or child.last_words()}"
            )
        listener.spin()


def _player_arguments(query: QueryBag, playback: Playback, config: EvaluationConfig) -> list[object]:
    speed = playback.rate_hz / query.image_rate_hz if playback.rate_hz is not None else 1.0
    info = [query.info.name] if query.info is not None else []
    wait = ["--wait-for-subscriber", config.start_timeout_s, "--wait-for-localizer", LOCALIZER, "--wait-for-evaluation"]
    return [query.path, "--now", "--rate", speed, *wait, "--topics", query.image.name, *info, *playback.topics]


def listen(listener: Listener, node: Child, player: Child, config: EvaluationConfig) -> None:
    """Until the player has ended and late poses had their time."""
    while player.status is None:
        node.require_alive()
        listener.spin()
    player.wait()
    listener.spin(config.settle_s)


def _follow(listener: Listener, config: EvaluationConfig) -> None:
    """Until a player that somebody else started has finished, or ctrl-C. Raises ChildError for a node that fails."""
    print("listening; start the player (or end with ctrl-C when it is not ours)", file=sys.stderr)
    until_s = time.monotonic() + config.start_timeout_s
    try:
        while listener.timing is None or not listener.timing.finished:
            listener.require_started()
            listener.spin()
            if time.monotonic() > until_s:
                listener.listen_to_player()
        listener.spin(config.settle_s)
    except KeyboardInterrupt:
        pass


def report(
    done: Run,
    query: QueryBag,
    output: Path,
    *,
    title: str,
    config: EvaluationConfig | None = None,
    map_file: Path | None = None,
) -> None:
    """Print the table; write evaluation.{json,png,html} and the poses (TUM) into a folder, which is created."""
    config = config or EvaluationConfig()
    make_folder(output)
    details: dict[str, Any] = {"bag": str(query.path), "map": str(map_file) if map_file else "", "node": done.status}
    statistics = evo_statistics(done.samples)
    details["evo"] = statistics
    write_json(output / "evaluation.json", done.score, done.samples, config, details)
    found = [(item.stamp_ns, item.estimate) for item in done.samples if item.estimate is not None]
    write_tum(output / "poses_tum.txt", found)
    pictures = thumbnails(query.path, done.samples, config, query.options)
    landmark_map = load_map(map_file) if map_file is not None else None
    notes = [("images passed over for a newer one", str(done.dropped))]
    draw(output / "evaluation.png", done.samples, config, landmark_map, pictures, title, notes)
    frames = worst_frames(query.path, done.samples, config, query.options)
    write_html(output / "evaluation.html", done.samples, config, landmark_map, frames, title, notes, statistics)
    print_score(done.score, title, config, notes)
    print(f"report: {output / 'evaluation.html'}   numbers: {output / 'evaluation.json'}")


def _parser() -> argparse.ArgumentParser:
    defaults = EvaluationConfig()
    parser = argparse.ArgumentParser("evaluate", description="Judge a running localization node against a bag's poses.")
    parser.add_argument("--bag", type=Path, required=True, help="the recording that is played, with poses")
    parser.add_argument("--map", type=Path, help="start a node with this map, and a player, as own processes")
    parser.add_argument("--rate", type=float, help="images per second (default: as recorded)")
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="folder for numbers and picture")
    parser.add_argument("--image-topic", help="if the bag has several")
    parser.add_argument("--pose-topic", help="topic of the true poses, or /tf")
    parser.add_argument("--poses", type=Path, help="true poses as a TUM file")
    parser.add_argument("--play", nargs="*", default=[], metavar="TOPIC", help="topics to play besides the images")
    parser.add_argument("--node", default=LOCALIZER, help="name of the node that is judged")
    parser.add_argument("--param", nargs="*", default=[], metavar="NAME:=VALUE", help="parameters of the node started")
    parser.add_argument("--levels", choices=("near", "far"), default=defaults.recall_levels, help="bounds of recall")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    for module in ("evo.core.metrics", "matplotlib"):  # before the bag is played, not after
        needed(module)
    config = from_mapping(EvaluationConfig, {"recall_levels": arguments.levels})
    poses = PoseOptions(pose_topic=arguments.pose_topic, poses=arguments.poses)
    query = QueryBag.read(arguments.bag, BagOptions(arguments.image_topic, poses=poses))
    parameters = dict(item.split(":=", 1) for item in arguments.param)
    playback = None
    if arguments.map is not None:
        playback = Playback(arguments.map, arguments.rate, parameters, arguments.play)
    done = run(query, playback, config, localizer=arguments.node)
    title = f"{arguments.bag.name} in {arguments.map.name if arguments.map else arguments.node}"
    report(done, query, arguments.output, title=title, config=config, map_file=arguments.map)


def main(args: Sequence[str] | None = None) -> int:
    """The executable; returns its exit status: 2 with one line for an expected error."""
    use_wheels()
    given = list(sys.argv if args is None else ["evaluate", *args])
    parser = _parser()
    arguments = parser.parse_args(remove_ros_args(given)[1:])
    for item in arguments.param:
        if ":=" not in item:
            parser.error(f"--param {item!r}: write NAME:=VALUE")
    rclpy.init(args=given)
    try:
        _evaluate(arguments)
    except HFNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 130
    finally:
        shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
