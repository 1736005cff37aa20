"""Which images of a drive become keyframes: those that are decided upon, and those that are likely before that."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from hfnet_core.geometry import Pose
from hfnet_core.images.depth import DepthImage
from hfnet_core.images.preparation import Preparation
from hfnet_core.mapping.keyframes.reading import Keyframe
from hfnet_core.mapping.keyframes.selection import KeyframeChooser, MotionChooser
from hfnet_core.types import Camera

__all__ = ["Decided", "LiveFrame", "Stream"]

_AHEAD, _AHEAD_NS = 2, 200_000_000  # images and time after one that tell how sharp it is, as a rule, and have its depth


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """An image that may become a keyframe.

    camera_number: of the robot's camera that took it; frame_id: its optical frame. image: [H, W] or [H, W, 3] RGB.
    pose: map_from_camera, or odom_from_camera where poses drift; None where images are all there is. rig_from_camera:
    where the camera sits among others, None for one alone. depth: asked when the image becomes a keyframe.
    """

    camera_number: int
    frame_id: str
    image: NDArray[Any]
    stamp_ns: int
    camera: Camera
    pose: Pose | None = None
    preparation: Preparation = field(default_factory=Preparation)
    rig_from_camera: Pose | None = None
    depth: Callable[[], DepthImage | None] | None = None


Numbered = tuple[int, LiveFrame]


@dataclass(eq=False)
class Stream:
    """Images of which keyframes are chosen: of one camera, or all images of one time where the first camera's motion
    decides. waiting: images with their numbers among those of their camera, not decided upon yet. ahead: by position,
    those of them that are keyframes already, as far as can be told."""

    chooser: KeyframeChooser | MotionChooser
    waiting: deque[list[Numbered]] = field(default_factory=deque)
    passed: int = 0
    ahead: dict[int, Keyframe] = field(default_factory=dict)

    def take(self, chosen: Sequence[int]) -> list[Decided]:
        """What was decided upon, which is forgotten here."""
        out: list[Decided] = []
        while self.passed < self.chooser.decided:
            group, known = self.waiting.popleft(), self.ahead.pop(self.passed, None)
            out += [Decided(item, self.passed in chosen, known) for item in group]
            self.passed += 1
        return out

    def likely(self) -> list[tuple[int, Numbered]]:
        """Positions and images that will be chosen as far as can be told, and are no keyframes yet."""
        if isinstance(self.chooser, MotionChooser):
            return []  # nothing is made of them before the whole is
        old_ns = self.waiting[-1][0][1].stamp_ns - _AHEAD_NS if self.waiting else 0
        waiting = list(self.waiting)[:-_AHEAD]
        chosen = (one for one in self.chooser.outlook() if one - self.passed < len(waiting) and one not in self.ahead)
        found = ((one, waiting[one - self.passed][0]) for one in chosen)
        return [(one, item) for one, item in found if item[1].stamp_ns <= old_ns]


@dataclass(frozen=True, eq=False)
class Decided:
    """An image, whether it is chosen, and the keyframe that was made of it ahead."""

    item: Numbered
    is_chosen: bool
    ahead: Keyframe | None
