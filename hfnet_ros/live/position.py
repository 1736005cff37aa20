"""Where the robot is while it maps: its pose by the newest version of the map, and map->odom."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from hfnet_core.geometry import Pose
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.mapper import LiveMapper
from hfnet_core.mapping.live.position import LivePosition, MapFromOdom, map_from_odom
from hfnet_core.mapping.pose_modes import GIVEN
from hfnet_core.maps.storage import load_map
from hfnet_ros.conversions import pose_to_stamped, pose_to_stamped_with_covariance
from hfnet_ros.live.parameters import MappingConfigs
from hfnet_ros.node.corrections import Correction, Corrections
from hfnet_ros.node.diagnostics import Reporter
from hfnet_ros.node.frame_sets import FrameSet
from hfnet_ros.node.frames import Frames
from hfnet_ros.node.map_component import Version, file_version
from hfnet_ros.node.maps.handover import CORRECTION, FOLLOWED_BY
from hfnet_ros.parameters import Parameters
from hfnet_ros.rclpy_typed import Log, lifecycle_publisher

__all__ = ["PositionOutputs"]

_QUEUE = 10
_SILENT_S = 2.0  # after an image nothing is said any more

Wanted = tuple[Version, int]
"""A version of the map's file, and the stretch of the drive that it is asked about."""


class PositionOutputs:
    """Publishers of the robot's pose, of base_frame_id or of the camera where that is empty, and of map->odom.

    `see` belongs to the thread of the keyframes, the rest to the executor's.
    """

    def __init__(
        self,
        node: LifecycleNode,
        settings: Parameters[MappingConfigs],
        frames: Frames,
        mapper: LiveMapper,
        reporter: Reporter,
    ) -> None:
        self._node, self._settings, self._mapper, self._reporter = node, settings, mapper, reporter
        configs = settings.configs
        self._log, self._lock = Log.of(node), Lock()
        self._position = LivePosition(configs.mode, configs.build)
        self._followed = False
        self._pose = lifecycle_publisher(node, PoseStamped, "~/pose", _QUEUE)
        self._with_covariance = lifecycle_publisher(node, PoseWithCovarianceStamped, "~/pose_with_covariance", _QUEUE)
        self._correction = lifecycle_publisher(node, PoseWithCovarianceStamped, f"~/{CORRECTION}", 1)
        self._corrections = Corrections(node, frames)
        self.start_over()

    def start_over(self) -> None:
        """A drive begins, or ends: nothing is known."""
        with self._lock:
            self._position.clear()
            self._drive: int | None = None
            self._newest: tuple[FrameSet, Pose] | None = None
            self._tried: Wanted | None = None
        self._corrections.forget()

    # ---- in the thread of the keyframes

    def see(self, frames: FrameSet, odom_from_rig: Pose) -> None:
        """An image, after it was recorded: publish where it was taken, as far as that is known."""
        with self._lock:
            if self._mapper.drive != self._drive:  # odometry began anew
                self._drive = self._mapper.drive
                self._position.clear()
                self._corrections.forget()
            if self._drive is None:
                return
            self._newest = frames, odom_from_rig
            self._position.add(frames.stamp_ns, odom_from_rig, is_first=self._mapper.begins_map)
            found, known = self._position.at(odom_from_rig), self._position.known
        if found is None or known is None:
            return
        frame = self._configs.map_frame
        self._pose.publish(pose_to_stamped(found.map_from_rig, frame, frames.stamp_ns))
        self._with_covariance.publish(
            pose_to_stamped_with_covariance(found.map_from_rig, found.covariance, frame, frames.stamp_ns)
        )
        if self._broadcasts:
            odom = self._configs.node.odom_frame_id
            correction = Correction(known.pose, frame, odom, frames.stamp_ns, frames.received_ns)
            self._corrections.correct(correction, self._configs.node)

    @property
    def _configs(self) -> MappingConfigs:
        return self._settings.configs

    @property
    def _broadcasts(self) -> bool:
        return self._has_odom_frame and self._configs.node.tf_broadcast and not self._followed

    @property
    def _has_odom_frame(self) -> bool:
        """Whether there is an odometry's frame beside the map's."""
        return bool(self._configs.node.odom_frame_id) and self._configs.mode != GIVEN

    # ---- in the executor's

    def wanted(self, path: Path) -> Wanted | None:
        """A version of the map that has not been asked about this stretch yet, see `asked`."""
        drive = self._drive
        if drive is None or self._configs.mode == GIVEN:
            return None
        try:
            key = file_version(path), drive
        except OSError:  # none yet
            return None
        if key == self._tried:
            return None
        self._tried = key
        return key

    def asked(self, path: Path, folder: DriveFolder, wanted: Wanted) -> MapFromOdom | None:
        """What a version says, in whatever thread. Raises HFNetError."""
        return map_from_odom(load_map(path, verify=False), folder, wanted[1], self._configs.build)

    def take(self, told: MapFromOdom | None, wanted: Wanted) -> None:
        """Go on by it."""
        with self._lock:
            if wanted[1] != self._drive:
                return
            moved = self._position.take(told) if told is not None else None
        if moved is not None:
            self._log.warning(
                f"a loop closure has moved the map: map->odom jumps, the robot by {moved[0]:.2f} m and "
                f"{moved[1]:.1f} deg"
            )
            self._reporter.health.fact("map->odom last jumped by", f"{moved[0]:.2f} m, {moved[1]:.1f} deg")

    def tell(self) -> None:
        """Hand map->odom over, or repeat it; call this now and then."""
        topic = self._node.resolve_topic_name(f"~/{FOLLOWED_BY}")  # also where it is remapped
        followed = self._node.count_publishers(topic) > 0
        if followed and not self._followed:
            self._corrections.forget()
        self._followed = followed
        with self._lock:
            newest, known = self._newest, self._position.known
            found = self._position.at(newest[1]) if newest is not None else None
        is_heard = newest is not None and time.perf_counter() - newest[0].received_s < _SILENT_S
        if not is_heard or known is None or found is None or not self._has_odom_frame:
            self._reporter.health.fact("map->odom", "")
            return
        self._correction.publish(
            pose_to_stamped_with_covariance(known.pose, found.covariance, self._configs.map_frame, known.keyframe_ns)
        )
        if self._broadcasts:
            self._reporter.note("correction", self._corrections.bridge(self._configs.node))
        handed = "handed over to a localization node" if followed else ""
        self._reporter.health.fact("map->odom", "broadcast here" if self._broadcasts else handed)

    def close(self) -> None:
        for publisher in (self._pose, self._with_covariance, self._correction):
            self._node.destroy_lifecycle_publisher(publisher)
