"""`python test/tiny_training.py POOL OUTPUT`: what `hfnet train` does, in seconds and without a teacher's weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from hfnet_core.cli.main import one_line_errors
from hfnet_core.config import TrainConfig
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints
from hfnet_core.training.recipe import train_network

TINY = TrainConfig(
    local_minutes=0.01, polish_minutes=0.01, finish_minutes=0.01, turn_minutes=0.01,
    wide_minutes=0.01, own_minutes=0.01, own_keypoints=16, quantized_minutes=0.01,
    warmup_minutes=0.01, global_minutes=0.01, imitation_minutes=0.01,
    regression_batches=3, feature_batches=4, crop_px=64, pairs=2, view_px=96, places=3, views=2,
    local_dim=16, global_dim=24, clusters=4, words=4, word_dim=8, rooms=1, night_rooms=1, tracks=True,
    intermediate_dim=8, workers=0,
)  # fmt: skip


def grid_teacher(image: np.ndarray) -> TeacherKeypoints:
    """A regular grid of keypoints."""
    x, y = np.meshgrid(np.arange(12.0, image.shape[1], 16), np.arange(12.0, image.shape[0], 16))
    xy = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    return TeacherKeypoints(xy, np.ones(len(xy), np.float32))


def main() -> None:
    torch.set_num_threads(1)
    with one_line_errors():
        train_network(Path(sys.argv[-2]), Path(sys.argv[-1]), TINY, lambda: grid_teacher, version="0")


if __name__ == "__main__":
    main()
