"""What the images of a robot say against calibrations, mountings and stamps, all cameras together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.uncertainty.calibration.check import CalibrationCheck
from hfnet_core.localization.uncertainty.calibration.drive import DriveCheck, Reading
from hfnet_core.localization.uncertainty.calibration.wording import MOVING_MOUNT, drive_summary, drive_warning
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Localization, Localized

__all__ = ["CalibrationWatch"]


class CalibrationWatch:
    """Of the cameras of one robot in one map. Not thread-safe; memory is bounded."""

    def __init__(self, landmark_map: LandmarkMap) -> None:
        self._map = landmark_map
        self._cameras: dict[str, CalibrationCheck] = {}
        self._drive = DriveCheck()
        self._leading: str | None = None  # of a rig, the camera whose mounting counts for the drive: one may fail

    def add(
        self,
        found: Localization,
        views: Mapping[str, View],
        stamp_s: float | None = None,
        odom_from_rig: Pose | None = None,
    ) -> None:
        """Take the images of one time into account.

        views: by name of their camera, in the order in which they were asked for. stamp_s: when they were taken, where
        they follow others. odom_from_rig: by the odometry, at their stamp.
        """
        for number, (name, view) in enumerate(views.items()):
            self._cameras.setdefault(name, CalibrationCheck(self._map)).add(found, view, number, stamp_s)
        if self._leading is None:
            self._leading = next(iter(views), None)
        leading = views.get(self._leading) if self._leading is not None else None
        if stamp_s is None or odom_from_rig is None or not odom_from_rig.is_finite() or leading is None:
            return
        self._drive.add(_reading(found, stamp_s, odom_from_rig), leading.rig_from_camera)

    def covered(self, found: Localization, views: Mapping[str, View]) -> Localization:
        """The same with a covariance that covers what is believably wrong."""
        if not isinstance(found, Localized):
            return found
        moved: list[Array] = []
        for number, (name, view) in enumerate(views.items()):
            check = self._cameras.get(name)
            shift = None if check is None else check.shift(found, view, number)
            if shift is not None:
                moved.append(shift * _share(found, number))
        drive = self._drive.shift(found.map_from_camera)
        shifts = [*([np.sum(moved, axis=0)] if moved else []), *([] if drive is None else [drive])]
        if not shifts:
            return found
        return replace(found, covariance=found.covariance + sum(np.outer(shift, shift) for shift in shifts))

    def follow(self, landmark_map: LandmarkMap) -> None:
        """Go on in a later version of the same map, with what was seen so far."""
        self._map = landmark_map
        for check in self._cameras.values():
            check.follow(landmark_map)
        self._drive.follow()

    def conclude(self) -> str | None:
        """All warnings, with what was seen since it was last thought about; None without any."""
        for check in self._cameras.values():
            check.conclude()
        self._drive.conclude()
        said = [f"{name}: {text}" if name else text for name, text in self.warnings.items() if text]
        return "; ".join([*said, *([self.drive_warning] if self.drive_warning else [])]) or None

    @property
    def warnings(self) -> dict[str, str | None]:
        """By camera: what the images say against its calibration, None while nothing is known."""
        return {name: check.warning for name, check in self._cameras.items()}

    @property
    def drive_warning(self) -> str | None:
        """What does not fit between the cameras and the odometry, None while nothing is known."""
        told = self._drive.explanation
        return None if told is None else drive_warning(told)

    @property
    def drive_summary(self) -> str:
        """What the drive says of mounting and stamps, or why it cannot say anything; "" while that is nothing."""
        told = self._drive.explanation
        if told is None:
            return MOVING_MOUNT if self._drive.is_moving_mount else ""
        return drive_summary(told)

    @property
    def summaries(self) -> dict[str, str]:
        """By camera: what the images say of its calibration, "" while that is nothing."""
        return {name: check.summary for name, check in self._cameras.items()}


def _reading(found: Localization, stamp_s: float, odom_from_rig: Pose) -> Reading:
    if not isinstance(found, Localized):
        return Reading(stamp_s, odom_from_rig)
    variances = found.covariance.diagonal()
    sigma_m, sigma_rad = float(variances[:3].mean() ** 0.5), float(variances[3:].mean() ** 0.5)
    return Reading(stamp_s, odom_from_rig, found.map_from_camera, sigma_m, sigma_rad)


def _share(found: Localized, number: int) -> float:
    """Of the correspondences that made a pose, those of one view: by so much it moves when this view's are moved."""
    views = found.supporting.views
    return float((views == number).mean()) if len(views) else 0.0
