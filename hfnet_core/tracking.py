"""Stage 5: poses over time. A prior makes the next image cheap; evidence, not the prior, decides."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from hfnet_core.geometry import Pose, pose_error
from hfnet_core.localizer import Localizer, with_timings
from hfnet_core.types import Camera, Features, Localization, Localized, NotLocalized, Reason

__all__ = ["Tracker"]

_HISTORY = 30  # accepted images over which the usual number of inliers is kept
_SURPRISE = 0.4  # fewer than this share of the usual inliers asks for a global search
_JUMP_M, _JUMP_DEG = 0.5, 20.0  # further than this from the prediction is a jump
_SPEED_M_S, _SPEED_DEG_S = 3.0, 180.0  # what a camera may do between two images, beyond the prediction
_CLEAR_WIN = 1.5  # a global pose elsewhere needs this many times the inliers of the tracked one


@dataclass(frozen=True)
class _State:
    """An accepted pose. odom_from_camera: at the same stamp, if known."""

    stamp_s: float
    map_from_camera: Pose
    odom_from_camera: Pose | None


class Tracker:
    """Localizes a stream of images from one camera.

    The last pose, moved on by odometry (or by constant velocity), is the prior of the next image. Whenever it does not
    hold, and every `global_check_every` images, the whole map is searched with the same features. A pose far from a
    fresh prediction is held back until a second image agrees with it. Not thread-safe: one tracker per camera.
    """

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self.reset()

    def reset(self) -> None:
        """Forget everything about the past: the next image is searched for in the whole map."""
        self._last: _State | None = None
        self._before: _State | None = None
        self._pending: _State | None = None
        self._usual: deque[int] = deque(maxlen=_HISTORY)
        self._since_check = 0

    def set_prior(self, map_from_camera: Pose, stamp_s: float) -> None:
        """Start from a pose that somebody else gives. It is a hint: evidence alone makes the next pose."""
        self.reset()
        self._last = _State(stamp_s, map_from_camera, None)

    def process(
        self, features: Features, camera: Camera, stamp_s: float, odom_from_camera: Pose | None = None
    ) -> Localization:
        """The pose of the next image.

        stamp_s: when it was taken, any epoch. odom_from_camera: the camera in a frame that drifts slowly and never
        jumps.
        """
        predicted = self._predict(stamp_s, odom_from_camera)
        result: Localization | None = None
        if predicted is not None and self.localizer.config.tracking:
            result = self.localizer.localize(features, camera, predicted)
            if self._wants_global(result):
                found = self.localizer.localize(features, camera)
                self._since_check = 0
                result = _better(result, found)
        else:
            result = self.localizer.localize(features, camera)
            self._since_check = 0
        if isinstance(result, NotLocalized):
            return result
        return self._accept(result, predicted, _State(stamp_s, result.map_from_camera, odom_from_camera))

    def _predict(self, stamp_s: float, odom_from_camera: Pose | None) -> Pose | None:
        last = self._last
        if last is None:
            return None
        if odom_from_camera is not None and last.odom_from_camera is not None:
            return last.map_from_camera @ last.odom_from_camera.inverse() @ odom_from_camera
        gap_s = stamp_s - last.stamp_s
        if not 0.0 <= gap_s <= self.localizer.config.tracking_max_gap_s:
            return None
        before = self._before
        if before is None or not 0.0 < last.stamp_s - before.stamp_s <= self.localizer.config.tracking_max_gap_s:
            return last.map_from_camera
        return _extrapolate(before, last, gap_s)

    def _wants_global(self, tracked: Localization) -> bool:
        config = self.localizer.config
        self._since_check += 1
        due = config.global_check_every > 0 and self._since_check >= config.global_check_every
        if due or isinstance(tracked, NotLocalized):
            return True
        return bool(self._usual) and tracked.inliers < _SURPRISE * float(np.median(self._usual))

    def _accept(self, result: Localized, predicted: Pose | None, state: _State) -> Localization:
        if predicted is not None and self._is_jump(predicted, state) and not self._confirmed(state):
            self._pending = state
            metres, degrees = pose_error(predicted, state.map_from_camera)
            detail = f"{metres:.2f} m and {degrees:.0f} deg from the prediction, waiting for a second image to agree"
            return NotLocalized(Reason.INCONSISTENT, detail, result.matches, result.inliers, result.keyframes,
                                result.timings_s)  # fmt: skip
        jumped = self._pending is not None and self._confirmed(state)
        self._pending = None
        self._before = None if jumped else self._last
        self._last = state
        self._usual.append(result.inliers)
        return result

    def _is_jump(self, predicted: Pose, state: _State) -> bool:
        """Whether a camera that was at the last pose can hardly be here now."""
        last = self._last
        gap_s = state.stamp_s - last.stamp_s if last is not None else 0.0
        with_odometry = last is not None and last.odom_from_camera is not None and state.odom_from_camera is not None
        slack_s = 0.1 * gap_s if with_odometry else gap_s  # odometry drifts by a tenth of what free motion allows
        metres, degrees = pose_error(predicted, state.map_from_camera)
        return metres > _JUMP_M + _SPEED_M_S * slack_s or degrees > _JUMP_DEG + _SPEED_DEG_S * slack_s

    def _confirmed(self, state: _State) -> bool:
        """Whether the pose held back agrees with this one, given the motion in between."""
        held = self._pending
        if held is None:
            return False
        expected = held.map_from_camera
        if held.odom_from_camera is not None and state.odom_from_camera is not None:
            expected = expected @ held.odom_from_camera.inverse() @ state.odom_from_camera
        gap_s = max(state.stamp_s - held.stamp_s, 0.0)
        metres, degrees = pose_error(expected, state.map_from_camera)
        return metres <= _JUMP_M + _SPEED_M_S * gap_s and degrees <= _JUMP_DEG + _SPEED_DEG_S * gap_s


def _better(tracked: Localization, found: Localization) -> Localization:
    """The tracked pose unless it failed, or the whole-map search clearly beats it elsewhere."""
    chosen = tracked
    if isinstance(found, Localized):
        if isinstance(tracked, NotLocalized):
            chosen = found
        else:
            metres, degrees = pose_error(tracked.map_from_camera, found.map_from_camera)
            elsewhere = metres > _JUMP_M or degrees > _JUMP_DEG
            if elsewhere and found.inliers > _CLEAR_WIN * tracked.inliers:
                chosen = found
    elif isinstance(tracked, NotLocalized):
        chosen = found
    other = found if chosen is tracked else tracked
    return with_timings(chosen, dict(other.timings_s))


def _extrapolate(before: _State, last: _State, gap_s: float) -> Pose:
    """Constant velocity in the camera's frame."""
    before_from_last = before.map_from_camera.inverse() @ last.map_from_camera
    share = gap_s / (last.stamp_s - before.stamp_s)
    rotation = Rotation.from_rotvec(Rotation.from_matrix(before_from_last.rotation).as_rotvec() * share)
    return last.map_from_camera @ Pose(rotation.as_matrix(), before_from_last.translation * share)
