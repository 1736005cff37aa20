"""Time of feature extraction, side by side: the network, what follows it, SIFT and ORB.

    python test/bench/features.py [--image FILE] [--model FILE] [--threads N] [--repeats N]

Every candidate runs once per round, so a busy machine slows all of them alike; medians are printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hfnet_core.config import ExtractorConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.baselines import OrbExtractor, SiftExtractor
from hfnet_core.features.extractor import Extractor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers import textured_image

WIDTH, HEIGHT, KEYPOINTS = 640, 480, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="photo to use, resized to 640x480; default: a synthetic one")
    parser.add_argument("--model", type=Path, help="ONNX model; default: the one that ships")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for everything (default 1)")
    parser.add_argument("--repeats", type=int, default=30, help="rounds (default 30)")
    arguments = parser.parse_args()
    cv2.setNumThreads(arguments.threads)
    image = load(arguments.image)
    config = ExtractorConfig(max_keypoints=KEYPOINTS)
    extractor = Extractor(open_backend(arguments.model, threads=arguments.threads), config)
    sift, orb = SiftExtractor(config), OrbExtractor(config)
    gray, pixel_map = extractor.prepare(image)
    dense = extractor.backend.infer(gray)
    candidates: dict[str, Callable[[], Any]] = {
        "gray and crop": lambda: extractor.prepare(image),
        "network": lambda: extractor.backend.infer(gray),
        "keypoints and descriptors": lambda: extractor.select(dense, pixel_map, WIDTH, HEIGHT),
        "all of HF-Net": lambda: extractor.extract(image),
        "SIFT": lambda: sift.extract(image),
        "ORB": lambda: orb.extract(image),
    }
    found = {"all of HF-Net": extractor, "SIFT": sift, "ORB": orb}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(arguments.repeats + 2):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            if repeat >= 2:  # the first rounds warm caches up
                times[name].append(time.perf_counter() - start)
    info = extractor.info
    print(f"{WIDTH}x{HEIGHT}, {KEYPOINTS} keypoints, {arguments.threads} thread(s), {arguments.repeats} rounds, "
          f"model {info.name} {info.version}")  # fmt: skip
    print(f"{'':28}{'median ms':>10}{'p90 ms':>10}{'keypoints':>11}")
    for name, values in times.items():
        keypoints = str(len(found[name].extract(image))) if name in found else ""
        print(f"{name:28}{np.median(values) * 1e3:10.2f}{np.percentile(values, 90) * 1e3:10.2f}{keypoints:>11}")


def load(path: Path | None) -> np.ndarray:
    """RGB [480, 640, 3]."""
    if path is None:
        return np.repeat(textured_image(WIDTH, HEIGHT)[:, :, None], 3, axis=2)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise SystemExit(f"{path}: not a readable image")
    return cv2.cvtColor(cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    main()
