"""How well a robot knows where it is while it makes its map: what was said over topics, beside the truth."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np
from rclpy.node import Node
from rich.table import Table

from hfnet_core.config import EvaluationConfig
from hfnet_core.evaluation.metrics import Sample, Score, score
from hfnet_core.geometry import Pose
from hfnet_core.recordings.transforms import TransformBuffer, TransformError
from hfnet_ros.conversions import frame_name, pose_from_transform, stamp_to_ns
from hfnet_ros.replay.listener import Listener, QueryBag
from hfnet_ros.replay.tape import Timing

__all__ = ["Meanwhile", "table_of"]

_SIGMAS = 3.0
_DEPTH = 1000


class Meanwhile:
    """Listens to a mapping node's poses, and to map->odom on TF, whoever broadcasts it."""

    def __init__(self, node: Node, mapper: str, frames: tuple[str, str]) -> None:
        """mapper: its name. frames: of the map and of the odometry."""
        self._config, self._frames = EvaluationConfig(), frames
        self._mapper = Listener(node, mapper)
        self._transforms = TransformBuffer()
        if importlib.util.find_spec("tf2_msgs") is not None:
            from tf2_msgs.msg import TFMessage

            node.create_subscription(TFMessage, "/tf", self._hear, _DEPTH)
        self._mapper.listen_to_player()

    def _hear(self, message: object) -> None:
        for item in message.transforms:  # type: ignore[attr-defined]
            parent, child = frame_name(item.header.frame_id), frame_name(item.child_frame_id)
            if (parent, child) == self._frames:
                pose = pose_from_transform(item.transform)
                self._transforms.add(parent, child, pose, stamp_to_ns(item.header.stamp))

    def mapped(self, bag: QueryBag) -> list[Sample]:
        """The bag's images with the pose that the mapping node gave each."""
        return self._mapper.samples(bag, self._config)

    def by_tf(self, bag: QueryBag, odometry: Sequence[Pose], timing: Timing) -> list[Sample]:
        """The same by map->odom at each image's stamp. odometry: odom_from_camera of each image; timing: of the
        player."""
        out = []
        for item, odom_from_camera in zip(bag.images, odometry, strict=True):
            try:
                map_from_odom = self._transforms.lookup(*self._frames, timing.played_ns(item.stamp_ns))
            except TransformError as error:
                out.append(Sample(item.stamp_ns, item.map_from_camera, reason=str(error)))
                continue
            out.append(Sample(item.stamp_ns, item.map_from_camera, map_from_odom @ odom_from_camera))
        return out


def table_of(rows: Mapping[str, Sequence[Sample]]) -> tuple[Table, dict[str, Score]]:
    """How many images have a pose by each means, and how far off: for people, and by title."""
    table, scores = Table("", "images", "off, median / most", f"beyond {_SIGMAS:g} sigma", "wrong"), {}
    table.title = "Where the robot is while it maps"
    for title, samples in rows.items():
        found = scores[title] = score(samples, EvaluationConfig())
        errors = 100 * np.array([item.error[0] for item in samples if item.error is not None])
        off = f"{np.median(errors):.1f} / {errors.max():.1f} cm" if len(errors) else ""
        table.add_row(title, f"{found.published} of {found.images}", off, _beyond(samples), str(found.wrong))
    return table, scores


def _beyond(samples: Sequence[Sample]) -> str:
    """How many positions are off by more than their covariance says."""
    told = [item for item in samples if item.covariance is not None and item.error is not None]
    if not told:
        return ""
    sigmas = [float(np.trace(item.covariance[:3, :3]) ** 0.5) for item in told if item.covariance is not None]
    off = [item.error[0] for item in told if item.error is not None]
    return str(int((np.array(off) > _SIGMAS * np.array(sigmas)).sum()))
