# ruff: noqa: E402
"""A tiny pool with teacher keypoints, drawn for each test."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'hfnet_ros[train]'")

from hfnet_core.training.data.pool import Pool
from hfnet_core.training.data.teacher_keypoints import TeacherKeypoints, run_teacher

torch.set_num_threads(1)  # for networks this small threads gain nothing, and on a busy machine they wait for each other


def draw_photo(seed: int, size: tuple[int, int] = (200, 160)) -> np.ndarray:
    """Random gray rectangles on gray."""
    rng = np.random.default_rng(seed)
    image = np.full((size[1], size[0]), 120, np.uint8)
    for _ in range(40):
        x, y = (int(v) for v in rng.integers(0, np.array(size) - 10))
        w, h = (int(v) for v in rng.integers(6, 40, 2))
        cv2.rectangle(image, (x, y), (x + w, y + h), (int(rng.integers(256)),), -1)
    return image


def corner_teacher(image: np.ndarray) -> TeacherKeypoints:
    """OpenCV's corners as a teacher that needs no weights."""
    xy = cv2.goodFeaturesToTrack(image, 150, 0.01, 4).reshape(-1, 2).astype(np.float32)
    return TeacherKeypoints(xy, np.linspace(1, 0.5, len(xy), dtype=np.float32))


@pytest.fixture
def pool_folder(tmp_path: Path) -> Path:
    """Four photos, two of them a pair, as `pool/`."""
    folder = tmp_path / "pool"
    (folder / "img").mkdir(parents=True)
    rows = ["file,source_repo,license,group,width,height"]
    for number in range(4):
        cv2.imwrite(str(folder / f"img/photo_{number}.png"), draw_photo(number))
        rows.append(f"img/photo_{number}.png,made here,CC0-1.0,group{number // 2},200,160")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "pairs.csv").write_text("a,b,group,f_inliers\nimg/photo_0.png,img/photo_1.png,group0,50\n")
    return folder


@pytest.fixture
def pool(pool_folder: Path) -> Pool:
    return Pool.read(pool_folder)


@pytest.fixture
def teacher_folder(tmp_path: Path, pool: Pool) -> Path:
    folder = tmp_path / "teacher"
    run_teacher(lambda: corner_teacher, pool, folder)
    return folder
