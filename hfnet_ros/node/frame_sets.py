"""Which images of several cameras belong together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hfnet_ros.node.inputs import ImageMessage

__all__ = ["Shot", "ShotAssembler"]

_OPEN_SHOTS = 8  # that wait for images; more means that the cameras' clocks have nothing to do with each other


@dataclass(frozen=True, eq=False)
class Shot:
    """Images taken at one time, by the number of their camera."""

    images: dict[int, ImageMessage]

    @property
    def stamp_ns(self) -> int:
        """Of the newest."""
        return max(image.stamp_ns for image in self.images.values())

    @property
    def received_s(self) -> float:
        """When the last one came, as time.perf_counter()."""
        return max(image.received_s for image in self.images.values())


@dataclass(eq=False)
class _OpenShot:
    images: dict[int, ImageMessage] = field(default_factory=dict)
    opened_s: float = field(default_factory=time.perf_counter)

    @property
    def stamp_ns(self) -> int:
        return max(image.stamp_ns for image in self.images.values())

    def takes(self, camera: int, stamp_ns: int, tolerance_ns: int) -> bool:
        near = (abs(stamp_ns - image.stamp_ns) <= tolerance_ns for image in self.images.values())
        return camera not in self.images and all(near)


class ShotAssembler:
    """Puts images of one time together. A shot is done when it is complete, or when it has waited long enough.

    Shots come in order of time: images that belong to an older one than the last are dropped.
    """

    def __init__(self, tolerance_s: float, timeout_s: float) -> None:
        self._tolerance_ns, self._timeout_s = round(tolerance_s * 1e9), timeout_s
        self.dropped = 0
        """Images that became part of no shot."""
        self.clear()

    def clear(self) -> None:
        """Time starts over."""
        self._open: list[_OpenShot] = []
        self._done_ns: int | None = None

    def add(self, camera: int, image: ImageMessage, awaited: Sequence[int]) -> Shot | None:
        """The shot that this image completes. awaited: cameras that are alive; the others are not waited for."""
        stamp_ns = image.stamp_ns
        if self._done_ns is not None and stamp_ns <= self._done_ns + self._tolerance_ns:
            self.dropped += 1
            return None
        shot = next((known for known in self._open if known.takes(camera, stamp_ns, self._tolerance_ns)), None)
        if shot is None:
            shot = _OpenShot()
            self._open.append(shot)
        shot.images[camera] = image
        if all(number in shot.images for number in awaited):
            return self._finish(shot)
        if len(self._open) > _OPEN_SHOTS:
            self.dropped += len(self._open.pop(0).images)
        return None

    def overdue(self) -> Shot | None:
        """The newest shot that has waited long enough, incomplete as it is."""
        now_s = time.perf_counter()
        late = [shot for shot in self._open if now_s - shot.opened_s >= self._timeout_s]
        return self._finish(max(late, key=lambda shot: shot.stamp_ns)) if late else None

    def _finish(self, shot: _OpenShot) -> Shot:
        self._done_ns = shot.stamp_ns
        older = [known for known in self._open if known is not shot and known.stamp_ns <= shot.stamp_ns]
        self.dropped += sum(len(known.images) for known in older)
        self._open = [known for known in self._open if known is not shot and known not in older]
        return Shot(shot.images)
