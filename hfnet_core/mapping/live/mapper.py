"""From images as they come to keyframes on disk: chosen, described, written. The same choice as of a recording."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.geometry import Pose, pose_error
from hfnet_core.images.depth import ranges_at
from hfnet_core.mapping.keyframes.reading import Describer, Keyframe
from hfnet_core.mapping.keyframes.selection import KeyframeChooser, MotionChooser, sharpness
from hfnet_core.mapping.keyframes.workspace import key_of
from hfnet_core.mapping.live.choosing import Decided, LiveFrame, Stream
from hfnet_core.mapping.live.drive_folder import DriveFolder, RecordedKeyframe, Source
from hfnet_core.mapping.pose_modes import DRIFTING, IMAGES
from hfnet_core.types import Features, Ranges

__all__ = ["LiveFrame", "LiveMapper", "LiveSource"]

_log = logging.getLogger(__name__)
_SAME_DRIVE_S = 10.0  # a recorder that is back so soon may go on with the odometry of before
_UNSEEN_M_S = 3.0  # if that has not moved further than a robot does meanwhile
_FASTEST_M_S, _SLACK_M = 20.0, 0.5  # between two images nothing moves further; odometry that does has begun anew


@dataclass(frozen=True)
class LiveSource:
    """A camera of the robot, see `Source`. frame: of the map where its poses alone decide."""

    image_topic: str
    camera: str = "camera_info"
    poses: str = "no poses"
    frame: str = "map"


@dataclass(eq=False)
class _Recording:
    """Of one camera in one stretch. images: of it so far."""

    source: Source
    images: int = 0
    is_new: bool = True


class LiveMapper:
    """Records the keyframes of a drive into a folder that is open for recording.

    mode: where poses come from, one of `pose_modes`; all stretches of a folder have the same. A keyframe is decided
    upon some images after it came; `finish` decides upon the last ones. One that is likely is on disk before, and is
    taken back where the images after it tell otherwise. Not thread-safe.
    """

    def __init__(
        self,
        folder: DriveFolder,
        describer: Describer,
        config: MapBuildConfig,
        mode: str,
        cameras: Sequence[LiveSource],
        *,
        together: bool = True,
    ) -> None:
        """cameras: of the robot, by number. together: what they take is added as images of one time; where images are
        all there is, the first camera's motion then chooses for all, else each one's own for itself. Raises ConfigError
        where the folder is of another mode."""
        self._folder, self._describer, self._config, self._mode = folder, describer, config, mode
        self._cameras = list(cameras)
        self._first_decides = mode == IMAGES and together
        self.keyframes = folder.count()
        """In the folder."""
        self._known = list(folder.sources().values())
        other = next((source for source in self._known if source.mode != mode), None)
        if other is not None:
            raise ConfigError(
                f"{folder.path}: was recorded with poses {other.mode} ({other.poses}), now they are {mode}: "
                "choose another drive_folder"
            )
        self._may_continue = True
        self.begins_map = False
        """Whether the stretch at hand is the first of its folder, recorded from its beginning on: in the frame of its
        odometry the map begins."""
        self._begin()

    def _begin(self) -> None:
        self._recordings: list[_Recording] = []
        self._newest: dict[int, LiveFrame] = {}  # by camera
        self._leader_is_missed = False
        self._streams = [Stream(self._chooser()) for _ in range(1 if self._first_decides else len(self._cameras))]

    @property
    def drive(self) -> int | None:
        """Number of the stretch of the drive that is recorded now, None before its first image."""
        return self._recordings[0].source.drive if self._recordings else None

    def _chooser(self) -> KeyframeChooser | MotionChooser:
        config = self._config
        if self._mode == IMAGES:
            return MotionChooser(config.keyframe_motion)
        return KeyframeChooser(config.keyframe_distance_m, config.keyframe_angle_deg)

    def add(self, frames: Sequence[LiveFrame]) -> list[Keyframe]:
        """Images of one time, in order of time; returns the keyframes that are recorded now.

        Where poses are not from images alone every frame has one. Raises DatasetError and BackendError as the
        describer does, MapError where the disk is full; the next images may be added all the same.
        """
        before = self.finish() if self._is_torn(frames[0]) else []
        return before + self._add_all(frames)

    def _is_torn(self, frame: LiveFrame) -> bool:
        """Whether odometry has jumped since the image before: it began anew."""
        before = self._newest.get(frame.camera_number)
        self._newest[frame.camera_number] = frame
        if self._mode != DRIFTING or before is None or not self._recordings:
            return False
        if _moved_m(before.pose, frame.pose) > _reach_m(frame.stamp_ns - before.stamp_ns, _FASTEST_M_S):
            self._newest = {frame.camera_number: frame}  # the others' last ones are of the stretch before
            _log.warning("odometry has jumped: what comes is another stretch of the drive")
            return True
        return False

    def _add_all(self, frames: Sequence[LiveFrame]) -> list[Keyframe]:
        if not self._recordings:
            self._recordings = self._stretch(frames[0])
        numbered = [(self._numbered(frame.camera_number), frame) for frame in frames]
        if self._first_decides:
            first = sorted(numbered, key=lambda item: item[1].camera_number)
            if self._is_led(first[0][1].camera_number):
                return self._add(self._streams[0], first)
            return []
        return [found for item in numbered for found in self._add(self._streams[item[1].camera_number], [item])]

    def _is_led(self, first_camera: int) -> bool:
        """Whether the camera is there that decides for all; once it is not, that is said."""
        if first_camera and not self._leader_is_missed:
            topic = self._cameras[0].image_topic
            _log.warning("%s is silent: it decides for all cameras, and without it there are no keyframes", topic)
        self._leader_is_missed = first_camera != 0
        return first_camera == 0

    def _numbered(self, camera_number: int) -> int:
        own = self._recordings[camera_number]
        own.images += 1
        return own.images - 1

    def _add(self, stream: Stream, group: list[tuple[int, LiveFrame]]) -> list[Keyframe]:
        stream.waiting.append(group)
        frame, chooser = group[0][1], stream.chooser
        if isinstance(chooser, MotionChooser):
            chosen = chooser.add(frame.image)
        else:
            chosen = chooser.add(frame.pose or Pose(), sharpness(frame.image))
        recorded = self._decide(stream.take(chosen))
        for position, item in stream.likely():
            stream.ahead[position] = self._record(*item)
            recorded.append(stream.ahead[position])
        return recorded

    def _decide(self, decided: Sequence[Decided]) -> list[Keyframe]:
        """Record what is chosen, as far as it is not recorded yet; take back what is not."""
        out = []
        for one in decided:
            if one.ahead is None:
                out += [self._record(*one.item)] if one.is_chosen else []
            elif one.is_chosen:
                self._complete(*one.item, one.ahead)
            else:
                self._folder.take_back(one.ahead)
                self.keyframes -= 1
        return out

    def finish(self) -> list[Keyframe]:
        """No image follows in this stretch: decide upon the last ones. What comes after, where time or odometry began
        anew, is of another stretch."""
        out = []
        try:
            for stream in self._streams:
                out += self._decide(stream.take(stream.chooser.finish()))
        finally:
            self._may_continue = False
            self._begin()
        return out

    # ---- a stretch of the drive

    def _stretch(self, first: LiveFrame) -> list[_Recording]:
        """The recordings of the robot's cameras from an image on: those of before where a recorder was gone only for a
        moment, else new ones."""
        continued = self._continued(first) if self._may_continue else None
        self.begins_map = continued is None and not self._known
        if continued is not None:
            return continued
        drive = max((source.drive for source in self._known), default=-1) + 1
        number = max((source.recording for source in self._known), default=-1) + 1
        return [
            _Recording(Source(number + index, drive, self._mode, camera_frame="", **asdict(own)))
            for index, own in enumerate(self._cameras)
        ]

    def _continued(self, first: LiveFrame) -> list[_Recording] | None:
        """The recordings of the last drive where this image can be of it, by time and by how far a robot moves."""
        newest = max((source.drive for source in self._known), default=-1)
        known = [source for source in self._known if source.drive == newest]
        described = [LiveSource(*(getattr(source, item.name) for item in fields(LiveSource))) for source in known]
        before = [self._folder.last(source.recording) for source in known]
        if not known or described != self._cameras or any(last is None for last in before):
            return None
        last = before[first.camera_number]
        assert last is not None
        gap_ns = first.stamp_ns - last.keyframe.stamp_ns
        pose = last.keyframe.odometry_from_camera if self._mode == IMAGES else last.keyframe.map_from_camera
        if not 0 < gap_ns <= _SAME_DRIVE_S * 1e9 or _moved_m(pose, first.pose) > _reach_m(gap_ns, _UNSEEN_M_S):
            return None
        return [
            _Recording(source, last.images, is_new=False) for source, last in zip(known, before, strict=True) if last
        ]

    # ---- a keyframe

    def _record(self, number: int, frame: LiveFrame) -> Keyframe:
        own = self._recordings[frame.camera_number]
        if own.is_new:
            own.source = replace(own.source, camera_frame=frame.frame_id)
            self._folder.add_source(own.source)
            self._known.append(own.source)
            own.is_new = False
        prepared = frame.preparation.before(frame.image)
        features = frame.preparation.after(self._describer.extract(prepared).without_dense())
        alone = self._mode == IMAGES
        keyframe = Keyframe(
            f"{own.source.recording}/{number:06d}",
            frame.stamp_ns,
            own.source.recording,
            frame.camera,
            frame.pose if frame.pose is not None and not alone else Pose(),
            features,
            key_of(self._describer.info.model_hash, getattr(self._describer, "config", None), prepared),
            odometry_from_camera=frame.pose if alone else None,
            drifting=self._mode == DRIFTING,
            drive=own.source.drive,
            rig_from_camera=frame.rig_from_camera if alone else None,
            ranges=_ranges(frame, features),
        )
        self._folder.add(RecordedKeyframe(keyframe, number + 1))
        self.keyframes += 1
        return keyframe

    def _complete(self, number: int, frame: LiveFrame, keyframe: Keyframe) -> None:
        """With depth that came after it."""
        ranges = _ranges(frame, keyframe.features) if keyframe.ranges is None else None
        if ranges is not None:
            self._folder.rewrite(RecordedKeyframe(replace(keyframe, ranges=ranges), number + 1))


def _moved_m(before: Pose | None, after: Pose | None) -> float:
    return 0.0 if before is None or after is None else pose_error(before, after)[0]


def _reach_m(gap_ns: int, speed_m_s: float) -> float:
    """How far a robot gets, with some slack."""
    return _SLACK_M + speed_m_s * max(gap_ns, 0) * 1e-9


def _ranges(frame: LiveFrame, features: Features) -> Ranges | None:
    """How far away keypoints are, None without a depth image that fits."""
    depth = frame.depth() if frame.depth is not None else None
    try:
        return None if depth is None else ranges_at(depth, features.keypoints_px, features.width, features.height)
    except DatasetError as error:
        _log.warning("%s", error)
        return None
