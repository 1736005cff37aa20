"""What the map's cameras say against the calibrations of the robot's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hfnet_core.errors import DatasetError
from hfnet_core.maps.landmark_map import LandmarkMap
from hfnet_core.recordings.calibration.plausibility import check_against_map
from hfnet_core.types import Camera, NotLocalized, Reason
from hfnet_ros.node.frame_sets import CameraFrame

__all__ = ["JudgedCalibrations"]


@dataclass(frozen=True, eq=False)
class _Judgement:
    """What a map's cameras say against a calibration; "" for nothing."""

    camera: Camera
    landmark_map: LandmarkMap
    text: str = ""
    refused: bool = False

    @classmethod
    def of(cls, frame: CameraFrame, landmark_map: LandmarkMap, trust: bool) -> _Judgement:
        try:
            known = () if trust else landmark_map.known_cameras(frame.frame_id)
            text = check_against_map(frame.camera, known)
        except DatasetError as error:
            return cls(frame.camera, landmark_map, str(error), refused=True)
        return cls(frame.camera, landmark_map, text)


class JudgedCalibrations:
    """Of all cameras, each judged once for each map."""

    def __init__(self, trust: bool) -> None:
        """trust: in whatever is given."""
        self._trust = trust
        self._judged: dict[str, _Judgement] = {}

    @property
    def texts(self) -> Mapping[str, str]:
        """By camera, what is said against it; "" for nothing."""
        return {name: judged.text for name, judged in self._judged.items()}

    def refusal(self, frame: CameraFrame, landmark_map: LandmarkMap) -> NotLocalized | None:
        """Why the map shows that a frame's calibration cannot be true, None where it does not."""
        judged = self._judged.get(frame.name)
        if judged is None or judged.camera != frame.camera or judged.landmark_map is not landmark_map:
            judged = self._judged[frame.name] = _Judgement.of(frame, landmark_map, self._trust)
        return NotLocalized(Reason.BAD_IMAGE, judged.text) if judged.refused else None
