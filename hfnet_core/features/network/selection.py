"""What is chosen where the network runs; the operators for it are in selection_graph.py."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.network.model_info import ModelInfo

__all__ = ["MAX_COUNT", "Selection"]

MAX_COUNT = 3839  # TensorRT's TopK takes no more


@dataclass(frozen=True)
class Selection:
    """The choice in an image [height, width].

    count: keypoints wanted, at most MAX_COUNT. radius: of non-maximum suppression, in pixels. subpixel: refine below
    the pixel.
    """

    height: int
    width: int
    count: int
    radius: int
    subpixel: bool

    @classmethod
    def of(cls, config: ExtractorConfig, info: ModelInfo, height: int, width: int) -> Selection:
        """What serves these limits, as far as it can."""
        subpixel = config.subpixel and info.subpixel
        return cls(height, width, min(config.max_keypoints, MAX_COUNT), config.nms_radius_px, subpixel)

    def serves(self, config: ExtractorConfig, info: ModelInfo) -> bool:
        """Whether what these limits ask for is a part of this choice."""
        return (
            config.max_keypoints <= self.count
            and config.nms_radius_px == self.radius
            and (config.subpixel and info.subpixel) == self.subpixel
        )

    @property
    def text(self) -> str:
        """For the key of an engine."""
        return f"{self.count} within {self.radius} px{', subpixel' if self.subpixel else ''}"

    @property
    def block(self) -> int:
        """Side of the squares of which each holds one survivor of the suppression at most, equal ones aside."""
        return next(side for side in (8, 4, 2, 1) if side <= self.radius + 1)

    @property
    def kept(self) -> int:
        """Keypoints that come out: `count`, or what a small image has room for, equal ones aside."""
        apart = self.radius + 1
        return min(self.count, -(-self.height // apart) * -(-self.width // apart))
