"""From the images of one time to the views that are localized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hfnet_core.errors import BackendError, DatasetError
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.turning.turns import Turns
from hfnet_core.types import Features, NotLocalized, Ranges, Reason
from hfnet_ros.node.frame_sets import CameraFrame, FrameSet

__all__ = ["RangesOf", "begun", "described", "ups_of", "views_of"]

RangesOf = Callable[[FrameSet, Sequence[Features | NotLocalized]], Sequence[Ranges | None]]


def begun(extractor: Extractor, turns: Turns, frame: CameraFrame) -> Features | NotLocalized:
    """What a frame shows, turned as the poses before tell, or why it shows nothing."""
    return described(extractor, frame, turns.rotation(frame.name, frame.preparation.rotation))


def described(extractor: Extractor, frame: CameraFrame, rotation: int) -> Features | NotLocalized:
    """What a frame shows, turned clockwise by so much, or why it shows nothing."""
    try:
        return frame.preparation.turned(rotation).extract(extractor, frame.pixels)
    except DatasetError as error:
        return NotLocalized(Reason.BAD_IMAGE, str(error))
    except BackendError as error:
        return NotLocalized(Reason.BACKEND_FAILED, str(error))


def views_of(
    frames: FrameSet, extracted: Sequence[Features | NotLocalized], ranges_of: RangesOf | None
) -> dict[str, View]:
    """By camera, of the frames that have features."""
    depths = [None] * len(extracted) if ranges_of is None else ranges_of(frames, extracted)
    return {
        frame.name: View(found, frame.camera, frame.rig_from_camera, far)
        for frame, found, far in zip(frames.frames, extracted, depths, strict=True)
        if isinstance(found, Features)
    }


def ups_of(views: Mapping[str, View], odom_from_rig: Pose | None) -> dict[str, Array]:
    """Where up is in each camera: the odometry's frame is level (REP 105)."""
    if odom_from_rig is None or not odom_from_rig.is_finite():
        return {}
    return {name: (odom_from_rig @ view.rig_from_camera).rotation[2] for name, view in views.items()}
