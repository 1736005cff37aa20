"""Does a camera's calibration fit the map? Collects what images from different places say, and names what is wrong."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.correspondences import View
from hfnet_core.localization.uncertainty.calibration.deviation import Deviation
from hfnet_core.localization.uncertainty.calibration.drive import is_near, velocity_between
from hfnet_core.localization.uncertainty.calibration.evidence import STATIC, Evidence, Sighted, evidence_of
from hfnet_core.localization.uncertainty.calibration.explanation import Defect, Explanation, explained
from hfnet_core.localization.uncertainty.calibration.focal_search import OTHER_FOCAL, refined, search_focal_length
from hfnet_core.localization.uncertainty.calibration.wording import summary_of, suspects_of, warning_of
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.types import Camera, Localization, Localized

__all__ = ["CalibrationCheck"]

_LEAST, _MOST = 10, 60  # images that decide
_AGAIN = 4  # images after which it is decided anew
_POINTS = 200  # of an image that are looked at
_LIMIT_PX = 6.0  # largest error of what is taken for right, at the reference width
_INLIERS = 20  # fewer tell nothing
_MOVED_M, _TURNED_DEG = 0.2, 10.0  # between images that count: a robot at rest errs in the same way all the time
_STEPS = 3  # to the deviation that the images fit best
_SAME = np.array([0.002, 0.5, 0.5, 0.005, 0.02])  # deviations closer than this are one
_FAR_IMAGES, _FAR_ALIKE = 5, 0.1  # images that fit a focal length far from the one given, and how alike these are
_SEARCHED = 80  # matches of a refused image that is looked into: one with fewer tells nothing, and takes as long
_SEARCHES, _EVERY = 10, 20  # refused images looked into at once, and then one of so many: it takes long
_SLIGHT = 0.25  # share of what is notable that counts for nothing
_GAP_S = 0.5  # between images that tell a velocity


@dataclass(frozen=True, eq=False)
class _Counted:
    """An image that counts. velocity: [6] about the map's axes while it was taken, zero where it is not known."""

    seen: Sighted
    evidence: Evidence
    velocity: Array


class CalibrationCheck:
    """Of one camera in one map. Not thread-safe.

    Memory is bounded, and images that do not count (nothing has moved) cost nothing.
    """

    def __init__(self, landmark_map: LandmarkMap) -> None:
        self._map = landmark_map
        self._camera: Camera | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._images: deque[_Counted] = deque(maxlen=_MOST)
        self._new = self._refused = 0
        self._around = Deviation()
        self._last: Pose | tuple[int, ...] | None = None
        self._before: tuple[float, Pose] | None = None
        self._waiting: tuple[Sighted, Evidence, tuple[float, Pose]] | None = None
        self.explanation: Explanation[Defect] | None = None
        """What the images say together, None while they are too few."""

    @property
    def warning(self) -> str | None:
        """What is wrong with the calibration, and the remedy; None while nothing is known to be."""
        if self.explanation is None or self._camera is None:
            return None
        return warning_of(self.explanation, self._camera)

    @property
    def summary(self) -> str:
        """What the images say of it in numbers, "" while they are too few."""
        if self.explanation is None or self._camera is None:
            return ""
        return f"{summary_of(self.explanation, self._camera)} ({len(self._images)} images)"

    def add(self, found: Localization, view: View, number: int = 0, stamp_s: float | None = None) -> None:
        """Take an image into account; another calibration than the last one's starts over.

        view: the image, as it was asked for; number: which of the rig's it is. stamp_s: when it was taken, where images
        follow each other. Images that were refused count as well: perhaps they were for their calibration.
        """
        if view.camera != self._camera:
            self._start_over()
            self._camera = view.camera
        pose = found.map_from_camera @ view.rig_from_camera if isinstance(found, Localized) else None
        self._finish_waiting(pose, stamp_s)
        where = pose or found.keyframes[:1]
        if not _same(where, self._last):
            evidence = self._accepted(found, view, number, pose) if pose else self._looked_into(found, view, number)
            if evidence is not None:
                self._last = where
                self._count(*evidence, stamp_s)
        self._before = (stamp_s, pose) if pose and stamp_s is not None else None

    def follow(self, landmark_map: LandmarkMap) -> None:
        """Go on in a later version of the map: what images have said of the camera stays, compared with the calibration
        as the version has it. Nothing that spans both versions tells a velocity: a loop closure may have moved the map.
        """
        self._finish_waiting(None, None)
        self._map, self._before = landmark_map, None
        if self._camera is None:
            return
        known = landmark_map.calibration_for(self._camera)
        if all(image.seen.camera == known for image in self._images):
            return
        compared = [_compared(image, known, self._around) for image in self._images]
        self._images = deque((image for image in compared if image is not None), _MOST)
        self._around = Deviation()
        self._decide()

    def conclude(self) -> str | None:
        """The warning, with what was seen since it was last thought about."""
        self._finish_waiting(None, None)
        if self._new:
            self._decide()
        return self.warning

    def shift(self, found: Localized, view: View, number: int = 0) -> Array | None:
        """[6] by how much the pose of the rig is off for what is believable, as in Localized.covariance.

        None where that is too little to count.
        """
        told = self.explanation
        if told is None or self._camera != view.camera:
            return None
        static = (item for item in suspects_of(view.camera).notable.items() if item[0] is not Defect.ROLLING_SHUTTER)
        effects = (notable @ told.likely[list(defect.value)] for defect, notable in static)
        if max(float(effect @ effect) for effect in effects) < _SLIGHT**2:
            return None
        map_from_camera = found.map_from_camera @ view.rig_from_camera
        seen = self._sighted(replace(found, matched=None), view, number, map_from_camera)
        evidence = None if seen is None else evidence_of(seen, _LIMIT_PX)
        if evidence is None:
            return None
        moved = evidence.pose_by @ told.likely[:STATIC]
        arm = found.map_from_camera.translation - map_from_camera.translation
        return np.concatenate([moved[:3] + np.cross(moved[3:], arm), moved[3:]])

    # ---- one image

    def _accepted(self, found: Localization, view: View, number: int, pose: Pose) -> tuple[Sighted, Evidence] | None:
        seen = self._sighted(found, view, number, pose)
        evidence = None if seen is None else evidence_of(seen, _LIMIT_PX)
        if seen is None or evidence is None or evidence.count < _INLIERS:
            return None
        focal = float(evidence.score[0] / max(evidence.information[0, 0], 1e-12))
        if abs(focal) > OTHER_FOCAL:  # too far for straight lines
            start = Deviation(float(np.clip(focal, -0.2, 0.2)))
            further = refined(replace(seen, map_from_camera=evidence.pose_at(start)), start.focal, _LIMIT_PX)
            evidence = further if further is not None and further.close > evidence.close else evidence
        return self._known(seen, evidence)

    def _known(self, seen: Sighted, evidence: Evidence) -> tuple[Sighted, Evidence]:
        """The same around what is known already, where that explains more."""
        seen = replace(seen, map_from_camera=evidence.map_from_camera)
        if not any(self._around):
            return seen, evidence
        nearer = evidence_of(replace(seen, map_from_camera=evidence.pose_at(self._around)), _LIMIT_PX, self._around)
        return seen, nearer if nearer is not None and nearer.close >= evidence.close else evidence

    def _looked_into(self, found: Localization, view: View, number: int) -> tuple[Sighted, Evidence] | None:
        """Of an image that was refused: whether it fits at another focal length."""
        seen = self._sighted(found, view, number, Pose())
        if seen is None or len(seen.pixels) < _SEARCHED:
            return None
        self._refused += 1
        if self._refused > _SEARCHES and self._refused % _EVERY:
            return None
        evidence = search_focal_length(seen, _LIMIT_PX)
        return None if evidence is None else self._known(seen, evidence)

    def _sighted(self, found: Localization, view: View, number: int, pose: Pose) -> Sighted | None:
        """What a view saw of the map: what agrees with the pose, and what was found without knowing one."""
        parts = [] if found.matched is None else [found.matched]
        if isinstance(found, Localized):
            parts.append(found.supporting)
        rows = [
            np.column_stack([part.keypoints_px, part.landmarks])[part.views == number]
            for part in parts
            if len(part.landmarks)
        ]
        if not rows:
            return None
        table = np.unique(np.concatenate(rows).astype(np.float64), axis=0)
        points = self._map.landmarks_xyz[table[:, 2].astype(np.int64)].astype(np.float64)
        camera = self._map.calibration_for(view.camera)
        return Sighted(table[:, :2], points, camera, pose).thinned(_POINTS)

    # ---- all of them

    def _count(self, seen: Sighted, evidence: Evidence, stamp_s: float | None) -> None:
        if stamp_s is not None and self._before is not None and stamp_s - self._before[0] < _GAP_S:
            self._waiting = seen, evidence, self._before
        else:
            self._keep(_Counted(seen, evidence, np.zeros(6)))

    def _finish_waiting(self, pose: Pose | None, stamp_s: float | None) -> None:
        """Once the image after it has come, or none that tells a velocity."""
        if self._waiting is None:
            return
        seen, evidence, (before_s, before) = self._waiting
        velocity = np.zeros(6)
        if pose is not None and stamp_s is not None and 0.0 < stamp_s - before_s < 2.0 * _GAP_S:
            velocity = velocity_between(before, pose) / (stamp_s - before_s)
        self._waiting = None
        self._keep(_Counted(seen, evidence, velocity))

    def _keep(self, image: _Counted) -> None:
        self._images.append(image)
        self._new += 1
        if len(self._images) >= _LEAST and (self._new >= _AGAIN or self.explanation is None):
            self._decide()

    def _decide(self) -> None:
        """Name what the images say, and look at all of them again around it until that changes nothing."""
        self._new = 0
        far = _far(self._images)
        if abs(far - self._around.focal) > OTHER_FOCAL:
            self._around = Deviation(focal=far)
        self.explanation = self._explained()
        before = list(self._images)
        for _ in range(_STEPS):
            told = self._explained(suspecting=True)
            if told is None or not told.defects:
                break
            around = Deviation(*told.together[:STATIC].tolist())
            if _near(around, self._around):
                break
            self._around = around
            self._images = deque((_anew(image, around) for image in self._images), _MOST)
            self.explanation = self._explained()
        if self.explanation is None or not self.explanation.defects:  # a suspicion that did not hold
            self._around, self._images = Deviation(), deque(before, _MOST)

    def _explained(self, suspecting: bool = False) -> Explanation[Defect] | None:
        far = self._around.focal
        fitting = [one for one in self._images if abs(one.evidence.around.focal - far) < max(_FAR_ALIKE, OTHER_FOCAL)]
        if len(fitting) < (_FAR_IMAGES if abs(far) > OTHER_FOCAL else _LEAST) or self._camera is None:
            return None
        equations = [one.evidence.moving(one.velocity) for one in fitting]
        information, scores = (np.array(part) for part in zip(*equations, strict=True))
        return explained(information, scores, suspects_of(self._camera), suspecting)


def _anew(image: _Counted, around: Deviation) -> _Counted:
    start = replace(image.seen, map_from_camera=image.evidence.pose_at(around))
    evidence = evidence_of(start, _LIMIT_PX, around)
    return image if evidence is None or evidence.close < image.evidence.close else replace(image, evidence=evidence)


def _compared(image: _Counted, camera: Camera, around: Deviation) -> _Counted | None:
    """An image held against another calibration. around: what was known of the deviation from the one before, which may
    have been corrected, or not."""
    starts = [
        replace(image.seen, camera=camera, map_from_camera=image.evidence.pose_at(at)) for at in (around, Deviation())
    ]
    found = [(evidence_of(start, _LIMIT_PX), start) for start in starts]
    evidence, seen = max(found, key=lambda item: -1 if item[0] is None else item[0].close)
    return None if evidence is None else replace(image, seen=seen, evidence=evidence)


def _far(images: Sequence[_Counted] | deque[_Counted]) -> float:
    """The focal length far from the one given that most images agree on, 0 where they do not."""
    changes = np.array([one.evidence.around.focal for one in images])
    far = changes[np.abs(changes) > OTHER_FOCAL]
    if len(far) < max(_FAR_IMAGES, len(changes) / 2):
        return 0.0
    middle = float(np.median(far))
    alike = np.count_nonzero(np.abs(far - middle) < _FAR_ALIKE)
    return middle if alike >= 0.8 * len(far) else 0.0


def _near(one: Deviation, other: Deviation) -> bool:
    return bool((np.abs(np.subtract(one, other)) < _SAME).all())


def _same(one: Pose | tuple[int, ...], other: Pose | tuple[int, ...] | None) -> bool:
    if not (isinstance(one, Pose) and isinstance(other, Pose)):
        return one == other
    return is_near(one, other, _MOVED_M, _TURNED_DEG)
