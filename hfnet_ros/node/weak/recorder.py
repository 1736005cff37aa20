"""Images of stretches where localization was weak or failed, for `hfnet map update`. Off until somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config import NodeConfig
from hfnet_core.errors import DatasetError
from hfnet_core.files import home_path
from hfnet_core.geometry import Pose
from hfnet_core.recordings.stretches.folder import KeptImage, StretchFolder
from hfnet_core.types import Localization, Localized
from hfnet_ros.node.diagnostics import Level, Reporter
from hfnet_ros.node.frame_sets import FrameSet

__all__ = ["WeakRecorder"]

_WEAK_INLIERS = 50  # as `hfnet map check` counts weak places
_EVERY_NS = 250_000_000  # keyframes need no more


@dataclass(frozen=True, eq=False)
class _Moment:
    frames: FrameSet
    odom_from_rig: Pose | None


class WeakRecorder:
    """Keeps images in a bounded folder, with the last one before a weak stretch and the first one after it, which tie
    it to what the map knows. Belongs to the thread of the images, but for `enabled`."""

    def __init__(self, config: NodeConfig, reporter: Reporter) -> None:
        self.enabled = config.record_weak
        """Whether images are kept: may be set from any thread."""
        self._reporter = reporter
        self._folder = StretchFolder(home_path(config.record_weak_folder), config.record_weak_mib << 20)
        self.path = self._folder.path
        self._last_good: _Moment | None = None
        self._in_stretch = False
        self._kept_ns: int | None = None
        self.kept = 0

    def see(self, frames: FrameSet, result: Localization, odom_from_rig: Pose | None) -> None:
        """Note what became of images, and keep them if the map does not know them well."""
        if not self.enabled:
            self._last_good = None
            return
        moment = _Moment(frames, odom_from_rig)
        weak = not isinstance(result, Localized) or result.inliers < _WEAK_INLIERS
        if weak and self._due(frames.stamp_ns):
            before, self._last_good = self._last_good, None
            if before is not None:
                self._keep(before)
            if self._keep(moment):
                self._kept_ns, self._in_stretch = frames.stamp_ns, True
        elif not weak:
            ends, self._in_stretch = self._in_stretch, False
            # one that ends a stretch is kept, and need not be kept again as the last before the next
            self._last_good = None if ends and self._keep(moment) else moment

    def forget(self) -> None:
        """Time starts over."""
        self._last_good, self._in_stretch, self._kept_ns = None, False, None

    def tell(self) -> None:
        """What is kept, in diagnostics."""
        kept = f"{self.kept} images in {self.path}" if self.enabled else "off"
        self._reporter.health.fact("weak stretches kept", kept)

    def _due(self, stamp_ns: int) -> bool:
        return self._kept_ns is None or not 0 <= stamp_ns - self._kept_ns < _EVERY_NS

    def _keep(self, moment: _Moment) -> bool:
        odom = moment.odom_from_rig
        try:
            for frame in moment.frames.frames:
                pose = None if odom is None else odom @ frame.rig_from_camera
                self._folder.keep(KeptImage(frame.stamp_ns, frame.pixels, frame.camera, pose, frame.name))
                self.kept += 1
        except DatasetError as error:
            self._reporter.complain("record weak", f"weak stretches are not kept: {error}", Level.WARN)
            return False
        self._reporter.health.clear("record weak")
        return True
