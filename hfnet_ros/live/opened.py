"""What a mapping node works with from configure to cleanup."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

from rclpy.lifecycle import LifecycleNode

from hfnet_core.errors import ConfigError, MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.files import home_path
from hfnet_core.mapping.keyframes.reading import BuildTools
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.mapper import LiveMapper, LiveSource
from hfnet_core.mapping.live.solver_process import GrowingProcess, can_solve
from hfnet_core.mapping.live.versions import MapVersions
from hfnet_core.mapping.pose_modes import IMAGES
from hfnet_core.maps.storage import check_output, load_map
from hfnet_ros.live.parameters import MappingConfigs
from hfnet_ros.live.position import PositionOutputs
from hfnet_ros.node.diagnostics import Reporter
from hfnet_ros.node.frames import Frames, open_frames
from hfnet_ros.node.inputs import image_topic
from hfnet_ros.node.map_component import MapView
from hfnet_ros.parameters import Parameters

__all__ = ["Opened"]


class Opened:
    """What configure allocates and cleanup frees."""

    def __init__(self, node: LifecycleNode, settings: Parameters[MappingConfigs], reporter: Reporter) -> None:
        """Raises HFNetError naming what is missing or does not fit."""
        configs, config = settings.configs, settings.configs.node
        self.output, self.path = Path(configs.map_file), Path(configs.drive_folder)
        check_output(self.output)
        _require_scale(configs)
        with ExitStack() as stack:
            model = home_path(config.model_file) if config.model_file else None
            backend = open_backend(model, config.backend, config.threads, configs.engine, configs.build.extraction)
            stack.callback(backend.close)
            self.extractor = Extractor(backend, configs.build.extraction)
            self.description = str(getattr(backend, "description", type(backend).__name__))
            self.folder = DriveFolder(self.path)
            _require_own(self.output, self.folder)
            stack.enter_context(self.folder.recording(backend.info, configs.build))
            describer = BuildTools(self.extractor, configs.build).describer
            sources, together = _sources(node, configs), config.camera_mode == "rig"
            self.mapper = LiveMapper(self.folder, describer, configs.build, configs.mode, sources, together=together)
            self.solves = configs.live.solve == "auto" and can_solve()
            """Whether maps are made here."""
            grow = None if configs.mode == IMAGES else GrowingProcess
            self.versions = MapVersions(self.path, self.output, configs.live.publish_every_s, grow=grow)
            stack.callback(self.versions.close)
            self.frames: Frames = open_frames(node)
            stack.callback(self.frames.close)
            self.position = PositionOutputs(node, settings, self.frames, self.mapper, reporter)
            stack.callback(self.position.close)
            self.view = MapView(node) if config.publish_map_cloud else None
            if self.view is not None:
                stack.callback(self.view.close)
            self._stack = stack.pop_all()

    @property
    def handed_over(self) -> str:
        """What is to be done where maps are not made here."""
        return (
            f"no map is made here: `hfnet map build {self.path} -o {self.output}` makes it where pycolmap is "
            "installed, here or on another computer"
        )

    def close(self) -> None:
        self._stack.close()


def _require_own(output: Path, folder: DriveFolder) -> None:
    """Raises ConfigError for a map that exists and is of something else; a damaged one of a drive is made anew."""
    if not output.exists():
        return
    own = folder.count() > 0
    if own:
        with suppress(MapError):
            own = folder.has_some_of(load_map(output, verify=False))
    if not own:
        raise ConfigError(
            f"map_file: {output} exists and is not of {folder.path}: remove it or choose another name, or the drive "
            "folder that it is of"
        )


def _require_scale(configs: MappingConfigs) -> None:
    """Raises ConfigError where nothing would tell how large the place is."""
    node, several = configs.node, len(configs.node.cameras) > 1
    told = bool(node.odom_frame_id or node.depth_topic) or configs.build.scale_free
    if configs.mode != IMAGES or told or (several and node.camera_mode == "rig"):
        return
    others = "name the odometry's frame or a depth_topic, or set build.scale_free for a map in arbitrary metres"
    if several:
        raise ConfigError(
            f"camera_mode: {node.camera_mode} takes no images of one time, without which the distance of the cameras "
            f"shows no scale, and odom_frame_id is empty: set it to rig, {others}"
        )
    raise ConfigError(f"odom_frame_id: is empty, and images alone show no scale: {others}")


def _sources(node: LifecycleNode, configs: MappingConfigs) -> list[LiveSource]:
    config = configs.node
    odometry = config.odom_topic or f"/tf {config.odom_frame_id}"
    poses = odometry if config.odom_frame_id else "no poses"
    return [
        LiveSource(image_topic(node, config, name), "camera_info", poses, configs.map_frame) for name in config.cameras
    ]
