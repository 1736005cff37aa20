"""The values that pass from `Cameras` to the pipeline and on to the outputs.

The pose that is looked for is that of the rig: of `base_frame_id` where it is given, of the only camera's own optical
frame elsewhere. One camera is a rig of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hfnet_core.geometry import Pose
from hfnet_core.images.preparation import Preparation
from hfnet_core.types import Camera

__all__ = ["CameraFrame", "FrameSet"]


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One image that can be localized.

    pixels: gray [H, W] or RGB [H, W, 3]. camera: its calibration. rig_from_camera: its mounting. name: of the camera,
    empty for the only one. frame_id: its optical frame. stamp_ns: when it was taken. preparation: what is done to the
    pixels before the network. doubt: what is unlikely in the numbers of its calibration.
    """

    pixels: NDArray[Any]
    camera: Camera
    rig_from_camera: Pose
    name: str
    frame_id: str
    stamp_ns: int
    preparation: Preparation = field(default_factory=Preparation)
    doubt: str = ""


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The usable images of one time, at least one.

    stamp_ns: of the newest. rig_frame: the frame whose pose is looked for. received_ns, received_s: when the last one
    came, by the node's clock and as time.perf_counter(). epoch: grows when time starts over (see `Cameras`).
    """

    frames: tuple[CameraFrame, ...]
    stamp_ns: int
    rig_frame: str
    received_ns: int
    received_s: float
    epoch: int
