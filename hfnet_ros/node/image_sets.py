"""Which images belong together: those of one time, of the cameras that are localized at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hfnet_ros.node.inputs import ImageMessage

__all__ = ["ImageSet", "ImageSetAssembler"]

_OPEN_SETS = 8  # that wait for images; more means that the cameras' clocks have nothing to do with each other


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images taken at one time as they came, by the number of their camera."""

    images: dict[int, ImageMessage]
    epoch: int = 0
    """Grows when time starts over (see `Cameras`)."""

    @property
    def stamp_ns(self) -> int:
        """Of the newest."""
        return max(image.stamp_ns for image in self.images.values())

    @property
    def received_ns(self) -> int:
        """When the last one came, by the node's clock."""
        return max(image.received_ns for image in self.images.values())

    @property
    def received_s(self) -> float:
        """When the last one came, as time.perf_counter()."""
        return max(image.received_s for image in self.images.values())


@dataclass(eq=False)
class _OpenSet:
    opened_ns: int
    images: dict[int, ImageMessage] = field(default_factory=dict)

    @property
    def stamp_ns(self) -> int:
        return max(image.stamp_ns for image in self.images.values())

    def takes(self, camera: int, stamp_ns: int, tolerance_ns: int) -> bool:
        near = (abs(stamp_ns - image.stamp_ns) <= tolerance_ns for image in self.images.values())
        return camera not in self.images and all(near)


class ImageSetAssembler:
    """Puts images of one time together. A set is done when it is complete, or when it has waited long enough.

    Sets come in order of time: images that belong to an older one than the last are dropped. A group of one camera
    completes its set with every image.
    """

    def __init__(self, cameras: Sequence[int], tolerance_s: float, timeout_s: float) -> None:
        """cameras: the numbers of those that are put together."""
        self.cameras = tuple(cameras)
        self._tolerance_ns, self._timeout_ns = round(tolerance_s * 1e9), round(timeout_s * 1e9)
        self.dropped = 0
        """Images that became part of no set."""
        self.clear()

    def clear(self) -> None:
        """Time starts over."""
        self._open: list[_OpenSet] = []
        self._done_ns: int | None = None

    def add(self, camera: int, image: ImageMessage, alive: Sequence[int], epoch: int = 0) -> ImageSet | None:
        """The set that this image completes. alive: cameras that send images; the others are not waited for."""
        stamp_ns = image.stamp_ns
        if self._done_ns is not None and stamp_ns <= self._done_ns + self._tolerance_ns:
            self.dropped += 1
            return None
        own = next((known for known in self._open if known.takes(camera, stamp_ns, self._tolerance_ns)), None)
        if own is None:
            own = _OpenSet(image.received_ns)
            self._open.append(own)
        own.images[camera] = image
        if all(number in own.images for number in self.cameras if number in alive):
            return self._finish(own, epoch)
        if len(self._open) > _OPEN_SETS:
            self.dropped += len(self._open.pop(0).images)
        return None

    def overdue(self, now_ns: int, epoch: int = 0) -> ImageSet | None:
        """The newest set that has waited long enough, incomplete as it is. now_ns: the node's clock."""
        late = [own for own in self._open if now_ns - own.opened_ns >= self._timeout_ns]
        return self._finish(max(late, key=lambda own: own.stamp_ns), epoch) if late else None

    def _finish(self, done: _OpenSet, epoch: int) -> ImageSet:
        self._done_ns = done.stamp_ns
        older = [known for known in self._open if known is not done and known.stamp_ns <= done.stamp_ns]
        self.dropped += sum(len(known.images) for known in older)
        self._open = [known for known in self._open if known is not done and known not in older]
        return ImageSet(done.images, epoch)
