"""`python test/bench/day_night_pairs.py FOLDER --front-end hfnet ...`: real pairs, points marked by hand.

FOLDER holds a folder for each pair, as WGLBS of WxBS (Mishkin et al., BMVC 2015) has them: 01.png, 02.png, corrs.txt of
x1 y1 x2 y2. From the matches of a pair comes a fundamental matrix; told is the share of the marked points that lie
within 5 px of its epipolar lines in both images, and in how many pairs that is at least half of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from hfnet_core.benchmarks.feature_bench import Contestant, contestants
from hfnet_core.config import ExtractorConfig
from hfnet_core.front_ends.registry import FrontEndSetup
from hfnet_core.images.reading import read_image

NEAR_PX = 5.0


def epipolar_px(fundamental: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[N] the larger of the two distances of marked points [N, 2] to their epipolar lines."""
    one, other = (np.column_stack([points, np.ones(len(points))]) for points in (first, second))
    lines, back = one @ fundamental.T, other @ fundamental
    product = np.abs((other * lines).sum(axis=1))
    return product / np.minimum(np.linalg.norm(lines[:, :2], axis=1), np.linalg.norm(back[:, :2], axis=1))


def recall(one: Contestant, folder: Path) -> tuple[float, int]:
    """Share of the marked points, and how many matches agree with the geometry found."""
    first, second = (one.source.extract(read_image(folder / f"0{number}.png")) for number in (1, 2))
    pairs, _ = one.match(first, second)
    if len(pairs) < 8:
        return 0.0, 0
    cv2.setRNGSeed(0)
    found, inlier = cv2.findFundamentalMat(
        first.keypoints_px[pairs[:, 0]], second.keypoints_px[pairs[:, 1]], cv2.USAC_MAGSAC, 1.5, 0.999, 20_000
    )
    if found is None or found.shape != (3, 3):
        return 0.0, 0
    marked = np.loadtxt(folder / "corrs.txt")
    return float((epipolar_px(found, marked[:, :2], marked[:, 2:]) < NEAR_PX).mean()), int(inlier.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--front-end", action="append", default=[])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--keypoints", type=int, default=2000)
    asked = parser.parse_args()
    setup = FrontEndSetup(ExtractorConfig(max_keypoints=asked.keypoints), asked.model, "onnxruntime", threads=1)
    folders = sorted(path.parent for path in asked.folder.glob("*/corrs.txt"))
    for one in contestants(asked.front_end or ["hfnet", "sift", "orb"], setup):
        rows = {folder.name: recall(one, folder) for folder in folders}
        shares = [share for share, _ in rows.values()]
        told = " ".join(f"{name} {share:.2f} ({inliers})" for name, (share, inliers) in rows.items())
        half = sum(share >= 0.5 for share in shares)
        print(f"{one.title}: {np.mean(shares):.2f} of the points, {half} of {len(shares)} pairs; {told}", flush=True)


if __name__ == "__main__":
    main()
