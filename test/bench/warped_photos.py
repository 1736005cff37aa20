"""`python test/bench/warped_photos.py PHOTOS OUTPUT`: planar sequences of photos, in HPatches' naming: OUTPUT/<kind>/.

Kinds: upright (scale and angle hardly change), zoom (0.4 to 2.5 times), zoom_turn (the same, turned by 20 to 70
degrees) and turn (30 to 180 degrees). Each photo gives one sequence of each: a view of 640x480 of its middle and five
others with a little perspective, other contrast and noise. For photos of 10 megapixels or so: views are reduced ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SIZE = (640, 480)
LONG_SIDE = 2832  # of a photo, before views are taken
KINDS = {  # (scale, degrees) of each view beside the first
    "zoom_turn": ((0.5, 25), (0.63, -50), (1.6, 35), (2.0, -20), (2.5, 70)),
    "zoom": ((0.4, 4), (0.55, -5), (1.5, 6), (1.9, -4), (2.5, 5)),
    "turn": ((1, 30), (1, 60), (1, 90), (1, -120), (1, 180)),
}
UPRIGHT = {"upright": ((1.0, 3), (0.87, -8), (1.12, 6), (0.95, -12), (1.05, 10))}
PERSPECTIVE = {"upright": 0.12}
GENTLE = 0.04  # share of a side by which corners move, where PERSPECTIVE does not say

Gray = NDArray[np.uint8]
Matrix = NDArray[np.float64]


def view(
    rng: Generator, photo: Gray, how: tuple[float, float], centre: Matrix, perspective: float
) -> tuple[Gray, Matrix]:
    """The photo at a scale and angle (degrees) around a centre, and view_from_photo [3, 3]."""
    scale, (width, height) = how[0], SIZE
    cos, sin = scale * np.cos(np.deg2rad(how[1])), scale * np.sin(np.deg2rad(how[1]))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    to_origin = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, 1.0]])
    to_middle = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1.0]])
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    moved = corners + rng.uniform(-1, 1, (4, 2)) * perspective * np.array(SIZE)
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32)) @ to_middle @ turn @ to_origin
    share = min(1.0, 1.3 * scale)
    small = photo if share == 1.0 else cv2.resize(photo, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    x, y = small.shape[1] / photo.shape[1], small.shape[0] / photo.shape[0]
    reduced = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1.0]])
    image = cv2.warpPerspective(small, homography @ np.linalg.inv(reduced), SIZE, flags=cv2.INTER_LINEAR)
    return np.asarray(image, np.uint8), np.asarray(homography)


def noisy(rng: Generator, image: Gray) -> Gray:
    gray = image.astype(np.float32)
    gray = (gray - gray.mean()) * rng.uniform(0.85, 1.1) + gray.mean() + rng.uniform(-12, 12)
    return np.clip(gray + rng.normal(0, 2.5, gray.shape), 0, 255).astype(np.uint8)


def write(rng: Generator, path: Path, output: Path, kinds: dict[str, tuple[tuple[float, float], ...]]) -> None:
    """The sequences of one photo."""
    photo = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    share = LONG_SIDE / max(photo.shape)
    if share < 1:
        photo = cv2.resize(photo, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    height, width = photo.shape
    base, middle = 0.4 if width > height else 0.45, np.array([width / 2, height / 2])
    for kind, steps in kinds.items():
        folder = output / kind / path.stem
        folder.mkdir(parents=True, exist_ok=True)
        image, first = view(rng, photo, (base, 0.0), middle, 0.0)
        cv2.imwrite(str(folder / "1.png"), image)
        for number, (scale, degrees) in enumerate(steps, 2):
            centre = middle + rng.uniform(-0.04, 0.04, 2) * np.array([width, height])
            image, homography = view(rng, photo, (base * scale, degrees), centre, PERSPECTIVE.get(kind, GENTLE))
            cv2.imwrite(str(folder / f"{number}.png"), noisy(rng, image))
            np.savetxt(folder / f"H_1_{number}", homography @ np.linalg.inv(first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    for seed, kinds in ((7, KINDS), (11, UPRIGHT)):
        rng = np.random.default_rng(seed)
        for path in sorted(asked.photos.glob("*.jpg")):
            write(rng, path, asked.output, kinds)


if __name__ == "__main__":
    main()
