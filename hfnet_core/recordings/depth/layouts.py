"""Where drivers publish the depth of a colour image, registered to it or not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

__all__ = [
    "DEPTH_TRANSPORTS",
    "NO_DEPTH",
    "depth_topics_of",
    "info_of",
    "registered_depth",
    "right_of",
    "unregistered_depth",
]

NO_DEPTH = "none"  # in place of a topic's name
DEPTH_TRANSPORTS = ("", "/compressedDepth", "/compressed")
# By the end of the image topic: what comes in its place. Only what is registered by its driver's definition is named.
_LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # RealSense: aligned to colour, or of the left infrared camera as it is
    (r"color/image_(?:raw|rect_raw|rect_color)", ("aligned_depth_to_color/image_raw",)),
    (r"infra1/image_rect_raw", ("depth/image_rect_raw", "aligned_depth_to_infra1/image_raw")),
    # Kinect: OpenNI and freenect, Azure, Kinect 2
    (
        r"rgb/image_(?:raw|color|rect|rect_color)",
        (
            "depth_registered/image_raw",
            "depth_registered/image",
            "depth_registered/hw_registered/image_rect_raw",
            "depth_registered/hw_registered/image_rect",
            "depth_registered/sw_registered/image_rect_raw",
            "depth_registered/sw_registered/image_rect",
            "depth_to_rgb/image_raw",
            "depth_to_rgb/hw_registered/image_rect",
        ),
    ),
    (r"image_color_rect", ("image_depth_rect",)),
    # ZED
    (
        r"(?:left|rgb)/(?:image_rect_color|image_rect_gray|color/rect/image|gray/rect/image)",
        ("depth/depth_registered",),
    ),
    # OAK-D: stereo depth is aligned to the colour camera
    (
        r"(?:rgb|color)/(?:image_raw|image_rect|image|video/image)",
        ("stereo/image_raw", "stereo/image_rect", "stereo/depth"),
    ),
    # Recordings of folders of images, and simulators
    (r"image_(?:raw|rect|color)", ("depth/image_raw", "depth_registered/image_raw")),
)

# The same of depth in the pixels of its own camera, which has a camera_info and a frame of its own.
_UNREGISTERED: tuple[tuple[str, tuple[str, ...]], ...] = (
    # RealSense and Orbbec
    (r"color/image_(?:raw|rect_raw|rect_color)", ("depth/image_rect_raw", "depth/image_raw")),
    # Kinect: OpenNI and freenect, Azure
    (
        r"rgb/image_(?:raw|color|rect|rect_color)",
        ("depth/image_raw", "depth/image_rect_raw", "depth/image_rect", "depth/image"),
    ),
)


def registered_depth(image: str) -> Iterator[str]:
    """Topics on which a camera's registered depth may be, without transport, likeliest first.

    image: topic of its images, without transport.
    """
    return _beside(image, _LAYOUTS)


def unregistered_depth(image: str) -> Iterator[str]:
    """Likewise of depth in the pixels of its own camera."""
    return _beside(image, _UNREGISTERED)


def info_of(depth: str) -> str:
    """The camera_info beside a topic of depth images, which is without transport."""
    return depth.rpartition("/")[0] + "/camera_info"


def _beside(image: str, layouts: tuple[tuple[str, tuple[str, ...]], ...]) -> Iterator[str]:
    for ending, depths in layouts:
        found = re.fullmatch(rf"(|.*/){ending}", image)
        if found is not None:
            yield from (found[1] + depth for depth in depths)


def right_of(image: str) -> str:
    """The topic of the right camera's images beside a left one's, both without transport; "" for no left one."""
    for left, right in (("left/", "right/"), ("infra1/", "infra2/"), ("left_", "right_")):
        head, found, tail = image.rpartition(left)
        if found and "/" not in tail:
            return head + right + tail
    return ""


def depth_topics_of(image: str, topics: Collection[str]) -> list[str]:
    """Those of some topics on which the depth of an image topic may be, transports included, registered depth first."""
    bases = (*registered_depth(image), *unregistered_depth(image))
    names = (base + transport for base in bases for transport in DEPTH_TRANSPORTS)
    return [name for name in dict.fromkeys(names) if name in topics]
