"""Settings of mapping while driving."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.settings import Checked, setting

__all__ = ["LiveConfig"]


@dataclass(frozen=True)
class LiveConfig(Checked):
    """What the mapping node writes, and how often."""

    map_file: str = setting("", "map that is written, NAME.hfmap; every version replaces it whole")
    drive_folder: str = setting(
        "", "what was recorded of the drive, to resume or to solve elsewhere; empty for NAME.hfdrive beside the map"
    )
    global_frame_id: str = setting("map", "frame of the map; poses that are given keep their own")
    solve: str = setting(
        "auto",
        "make maps here; auto does where pycolmap is installed, else keyframes are only recorded; never leaves it to "
        "`hfnet map build` on another computer",
        choices=("auto", "never"),
    )
    publish_every_s: float = setting(
        2.0,
        "shortest time between the beginnings of two versions of the map, of either kind: those to which the newest "
        "keyframes are added, and those that adjust the whole; 0 makes one only when asked for",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
    )
    queue_images: int = setting(
        30, "images that wait while keyframes are described; more are passed over", minimum=1, maximum=1000
    )
