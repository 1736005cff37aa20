"""Something small to try: `python -m hfnet_core.synthetic.sample FOLDER`.

courtyard.hfmap is a map of a corner of the courtyard, drive.mcap a recording of a walk there on another day, with the
exact poses, and images/ has a few of its images. A few megabytes in all, which a release brings along. Wants the extras
`bags` and `mapping`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, HFNetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.storage import save_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.synthetic.walk import MAP_PASS, QUERY_PASS, Pass, record

__all__ = ["main", "make_sample"]

_WAYPOINTS = 5  # of both walks: along the market to the passage
_MAP_EVERY, _DRIVE_EVERY = 2, 3  # frames left out make it smaller
_KEYFRAME_DISTANCE_M = 0.4
_IMAGES = 6


def make_sample(folder: Path, model: Path | None = None) -> None:
    """Render and map. Raises ConfigError when the folder is there already."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}): name a folder that does not exist") from error
    with tempfile.TemporaryDirectory() as name:
        mapped, driven = Path(name) / "mapped", Path(name) / "drive"
        record(_beginning(MAP_PASS), mapped, every=_MAP_EVERY)
        record(_beginning(QUERY_PASS), driven, every=_DRIVE_EVERY)
        config = MapBuildConfig(keyframe_distance_m=_KEYFRAME_DISTANCE_M)
        extractor = Extractor(open_backend(model, "onnxruntime"), config.extraction)
        save_map(build_map([mapped], extractor, config), folder / "courtyard.hfmap")
        shutil.move(driven / "drive.mcap", folder / "drive.mcap")
    _write_images(folder / "drive.mcap", folder / "images")


def _beginning(day: Pass) -> Pass:
    return replace(day, path=replace(day.path, waypoints=day.path.waypoints[:_WAYPOINTS]))


def _write_images(recording: Path, folder: Path) -> None:
    folder.mkdir()
    with Bag(recording) as bag:
        frames = list(bag.frames())
        seen = frames[2 * len(frames) // 5 :]  # the walk begins with its face to a wall
        for frame in seen[:: max(len(seen) // _IMAGES, 1)]:
            cv2.imwrite(str(folder / f"{frame.index:03}.jpg"), frame.image[..., ::-1])


def main(args: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser("python -m hfnet_core.synthetic.sample", description="A small map and a drive.")
    parser.add_argument("folder", type=Path, help="is made")
    parser.add_argument("--model", type=Path, help="network (ONNX) in place of the one that ships")
    arguments = parser.parse_args(args)
    try:
        make_sample(arguments.folder, arguments.model)
    except HFNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
