"""What is found in images and where they were taken, written to a file; or two such files compared."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hfnet_core.evaluation.offline import OfflineLocalizer
from hfnet_core.images.reading import read_image
from hfnet_core.types import Localized

KEYPOINT_PX, DESCRIPTOR, POSE_M = 0.01, 1e-3, 1e-4  # differences up to which answers are the same


def write(map_file: Path, images: Path, output: Path) -> None:
    """keypoints/NAME, descriptors/NAME and, of those localized, poses/NAME [4, 4]."""
    offline = OfflineLocalizer(map_file)
    out: dict[str, np.ndarray] = {}
    for answer in offline.images(images):
        name = Path(answer.name).name
        features = offline.extractor.extract(read_image(Path(answer.name)))
        out[f"keypoints/{name}"], out[f"descriptors/{name}"] = features.keypoints_px, features.descriptors
        if isinstance(answer.result, Localized):
            out[f"poses/{name}"] = answer.result.map_from_camera.matrix()
    np.savez(output, **out)


def differences(one: Path, other: Path) -> list[str]:
    """One line for each answer that differs."""
    first, second = np.load(one), np.load(other)
    said = [f"{name}: only one of them has it" for name in set(first.files) ^ set(second.files)]
    limits = {"keypoints": KEYPOINT_PX, "descriptors": DESCRIPTOR, "poses": POSE_M}
    for name in sorted(set(first.files) & set(second.files)):
        a, b = first[name], second[name]
        worst = np.abs(a - b).max(initial=0.0) if a.shape == b.shape else np.inf
        print(f"{name}: {worst:.2g}")
        if not worst <= limits[name.partition("/")[0]]:
            said.append(f"{name}: differs by {worst:.3g}")
    if not any(name.startswith("poses/") for name in first.files):
        said.append("no image was localized: nothing was compared")
    return said


if __name__ == "__main__":
    if sys.argv[1] == "--compare":
        found = differences(Path(sys.argv[2]), Path(sys.argv[3]))
        print("\n".join(found) or "the same answers")
        sys.exit(1 if found else 0)
    write(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
