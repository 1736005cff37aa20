"""Stage 5: poses over time. A prior makes the next image cheap; evidence, not the prior, decides."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from hfnet_core.config import LocalizerConfig
from hfnet_core.geometry import Array, Pose, pose_error
from hfnet_core.localization.hypothesis import is_elsewhere
from hfnet_core.localization.localizer import Localizer, View
from hfnet_core.localization.tracking.consistency import (
    UNKNOWN_PRIOR,
    Belief,
    Consistency,
    Odometer,
    Sighting,
    Velocity,
    distance2,
)
from hfnet_core.localization.tracking.rivals import Rivals
from hfnet_core.types import Localization, Localized, NotLocalized, Reason

__all__ = ["Tracker"]

_HISTORY = 30  # accepted images over which the usual number of inliers is kept
_SURPRISE = 0.4  # fewer than this share of the usual inliers asks for a global search
_OUT_OF_ORDER_S = 0.1  # images of several cameras may come in another order than they were taken
_TRUST = 3.0  # log odds of being near where the last images and the motion since say: one in twenty times it is not
_HINT = 1.5  # log odds that a pose somebody gave is about right
_CLEAR_WIN = 1.5  # a global pose elsewhere needs this many times the inliers of the tracked one


class Tracker:
    """Localizes a stream of images from one camera or one rig.

    The last pose, moved on by odometry (or by constant velocity), is the prior of the next image. Whenever it does not
    hold, and every `global_check_every` images, the whole map is searched with the same features. A pose beyond the
    gate around its prediction (see consistency.py) is held back until `gate_images` images agree on it: a wrong one
    rarely comes twice, a robot that was carried away keeps seeing where it is. Of look-alike places all are followed
    until one remains (see rivals.py). Not thread-safe: one tracker per camera.
    """

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self.reset()

    def reset(self) -> None:
        """Forget everything about the past: the next image is searched for in the whole map."""
        self._last: Sighting | None = None
        self._pending: Sighting | None = None
        self._usual: deque[int] = deque(maxlen=_HISTORY)
        self._since_check = 0
        self._odometer = Odometer()
        self._expected: tuple[Pose, Array] | None = None
        self._rivals = Rivals()
        self.consistency = Consistency()

    def set_prior(self, map_from_camera: Pose, stamp_s: float, covariance: Array = UNKNOWN_PRIOR) -> None:
        """Start from a pose that somebody else gives, with its covariance [6, 6] (see Localized).

        It is a hint: evidence alone makes the next pose.
        """
        self.reset()
        self._last = Sighting(stamp_s, map_from_camera, covariance)

    def expect(self, map_from_odom: Pose, covariance: Array) -> None:
        """Go on from where somebody else puts the odometry's frame; covariance: [6, 6] of the robot's pose there.

        It is a prior as the last pose is: a pose beyond it is held back until others agree. Without odometry it is
        nothing.
        """
        self._expected = map_from_odom, covariance

    def process(self, views: Sequence[View], stamp_s: float, odom_from_rig: Pose | None = None) -> Localization:
        """The pose of the next image, or of the next images of one time.

        stamp_s: when it was taken, any epoch. odom_from_rig: the camera (or the rig) in a frame that drifts slowly and
        never jumps; one that is not finite is ignored.
        """
        if odom_from_rig is not None and not odom_from_rig.is_finite():
            odom_from_rig = None
        self._odometer.add(odom_from_rig)
        if self._expected is not None and odom_from_rig is not None:
            (map_from_odom, covariance), self._expected = self._expected, None
            way_m, turned_rad = self._odometer.way_m, self._odometer.turned_rad
            there = map_from_odom @ odom_from_rig
            self._last = Sighting(stamp_s, there, covariance, odom_from_rig, way_m, turned_rad)
            self._pending = None
        predicted = self._predict(stamp_s, odom_from_rig)
        result: Localization | None = None
        if predicted is not None and self.localizer.config.tracking:
            trust = _TRUST if self._usual else _HINT
            result = self.localizer.localize(views, predicted, trust)
            if self._wants_global(result):
                found = self.localizer.localize(views)
                self._since_check = 0
                result = _better(result, found)
        else:
            result = self.localizer.localize(views)
            self._since_check = 0
        if isinstance(result, NotLocalized) and result.places:
            places = [(self._sighting(place, stamp_s, odom_from_rig), place) for place in result.places]
            result = self._rivals.follow(places, self.localizer.config) or result
        if isinstance(result, NotLocalized):
            self.miss()
            return result
        self._rivals.clear()
        return self._accept(result, predicted, self._sighting(result, stamp_s, odom_from_rig))

    def _sighting(self, found: Localized, stamp_s: float, odom_from_rig: Pose | None) -> Sighting:
        way_m, turned_rad = self._odometer.way_m, self._odometer.turned_rad
        return Sighting(stamp_s, found.map_from_camera, found.covariance, odom_from_rig, way_m, turned_rad)

    def miss(self) -> None:
        """Note that an image gave no pose; `process` does so by itself, this is for images that have no features."""
        belief = Belief.SEARCHING if self._last is None else Belief.LOST
        self.consistency = Consistency(belief, None, self.consistency.agreeing)

    def _predict(self, stamp_s: float, odom_from_rig: Pose | None) -> Pose | None:
        last = self._last
        if last is None:
            return None
        moved = last.moved_to(odom_from_rig)
        if moved is not None:
            return moved
        gap_s = stamp_s - last.stamp_s
        if not -_OUT_OF_ORDER_S <= gap_s <= self.localizer.config.tracking_max_gap_s:
            return None
        return last.expected(stamp_s, None)

    def _wants_global(self, tracked: Localization) -> bool:
        config = self.localizer.config
        self._since_check += 1
        due = config.global_check_every > 0 and self._since_check >= config.global_check_every
        if due or isinstance(tracked, NotLocalized):
            return True
        return bool(self._usual) and tracked.inliers < _SURPRISE * float(np.median(self._usual))

    def _accept(self, result: Localized, predicted: Pose | None, seen: Sighting) -> Localization:
        config, last = self.localizer.config, self._last
        distance, agreeing = None, 0
        if last is not None and predicted is not None:
            distance = float(np.sqrt(distance2(last, predicted, seen, config)))
            if distance**2 > config.gate_chi2:
                agreeing = self.consistency.agreeing + 1 if self._agrees(seen) else 1
                if agreeing < config.gate_images:
                    self._pending = seen
                    self.consistency = Consistency(Belief.DOUBTING, distance, agreeing)
                    return _doubted(result, pose_error(predicted, seen.map_from_camera), distance, config)
        self.consistency = Consistency(Belief.TRACKING, distance)
        before = self._pending if agreeing > 1 else last  # after a jump only the images that agreed tell a velocity
        known = bool(self._usual) and before is not None  # a pose that somebody gave tells none
        self._pending = None
        self._last = replace(seen, velocity=self._velocity(before, seen)) if known else seen
        self._usual.append(result.inliers)
        return result

    def _velocity(self, before: Sighting | None, seen: Sighting) -> Velocity | None:
        if before is None or seen.stamp_s - before.stamp_s > self.localizer.config.tracking_max_gap_s:
            return None
        return Velocity.between(before, seen)

    def _agrees(self, seen: Sighting) -> bool:
        """Whether the pose held back and this one fit together, given the motion in between."""
        held, config = self._pending, self.localizer.config
        if held is None:
            return False
        expected = held.expected(seen.stamp_s, seen.odom_from_rig)
        return distance2(held, expected, seen, config) <= config.gate_chi2


def _doubted(result: Localized, off: tuple[float, float], distance: float, config: LocalizerConfig) -> NotLocalized:
    detail = (
        f"{off[0]:.2f} m and {off[1]:.0f} deg off, Mahalanobis distance {distance:.1f} of "
        f"{config.gate_chi2**0.5:.1f}: waiting for {config.gate_images} images to agree"
    )
    return NotLocalized(
        Reason.INCONSISTENT,
        detail,
        result.matches,
        result.inliers,
        result.keyframes,
        result.timings_s,
        unused_px=result.keypoints_px,
        unused_views=result.views,
    )


def _better(tracked: Localization, found: Localization) -> Localization:
    """The tracked pose unless it failed, or the whole-map search clearly beats it elsewhere."""
    chosen = tracked
    if isinstance(found, Localized):
        if isinstance(tracked, NotLocalized):
            chosen = found
        else:
            elsewhere = is_elsewhere(tracked.map_from_camera, found.map_from_camera)
            if elsewhere and found.inliers > _CLEAR_WIN * tracked.inliers:
                chosen = found
    elif isinstance(tracked, NotLocalized):
        chosen = found
    other = found if chosen is tracked else tracked
    return _with_timings(chosen, dict(other.timings_s))


def _with_timings(result: Localization, extra_s: Mapping[str, float]) -> Localization:
    """The same result with further stage timings (seconds) added."""
    merged = dict(result.timings_s)
    for stage, seconds in extra_s.items():
        merged[stage] = merged.get(stage, 0.0) + seconds
    return replace(result, timings_s=merged)
