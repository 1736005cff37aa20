"""`python test/bench/training_memory.py [COUNT]`: memory of the paper's recipe while it sees COUNT images once.

Draws COUNT small images (20,000 unless told), trains a tiny network on each once, batches prepared by one process as by
default, and prints the resident memory of trainer and preparing process at every tenth of the way.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

TEST = Path(__file__).resolve().parents[1]
BATCH = 16
PARTS = 10


def draw(folder: Path, count: int) -> None:
    """Random rectangles in colour, a thousand images in a folder."""
    for number in range(count):
        rng = np.random.default_rng(number)
        image = np.full((60, 80, 3), rng.integers(0, 255, 3), np.uint8)
        for _ in range(6):
            x, y, w, h = (int(v) for v in rng.integers((0, 0, 6, 6), (70, 50, 30, 30)))
            cv2.rectangle(image, (x, y), (x + w, y + h), [int(v) for v in rng.integers(0, 255, 3)], -1)
        below = folder / f"{number // 1000:03d}"
        below.mkdir(exist_ok=True)
        cv2.imwrite(str(below / f"{number:06d}.jpg"), image)


def resident_mb(process: int) -> tuple[float, float]:
    """Of a process, and of those that it started, MB; 0 where there are none."""
    own, below = 0.0, 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:  # it ended meanwhile
            continue
        resident = int(fields.get("VmRSS", "0 kB").split()[0]) / 1024
        own += resident if int(fields["Pid"]) == process else 0
        below += resident if int(fields["PPid"]) == process else 0
    return own, below


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as name:
        images, output = Path(name) / "images", Path(name) / "run"
        images.mkdir()
        draw(images, count)
        steps = count // BATCH
        changes = [f"steps={steps}", f"batch_size={BATCH}", "workers=1", f"learning_rate_steps=[{steps // 2}]"]
        changes += ["validation_images=0", f"validation_steps={steps}", "checkpoint_steps=100"]
        command = [sys.executable, str(TEST / "tiny_paper.py"), str(images), str(output), *changes]
        training = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert training.stdout is not None
        print("images seen, trainer MB, preparing process MB", flush=True)
        told, begun = 0, time.monotonic()
        for line in training.stdout:
            words = line.split()
            if words[:2] != ["distill", "step"] or int(words[2]) * PARTS // steps <= told:
                continue
            told = int(words[2]) * PARTS // steps
            own, below = resident_mb(training.pid)
            print(f"{int(words[2]) * BATCH}, {own:.0f}, {below:.0f}", flush=True)
        print(f"rc {training.wait()}, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
