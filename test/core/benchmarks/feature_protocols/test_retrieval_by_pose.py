"""Retrieval by pose: positives by distance and gaze, NCLT's files, and the command on two folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.benchmarks.feature_protocols.retrieval_by_pose import (
    Place,
    Positive,
    as_nclt,
    describe_places,
    nclt_places,
    read_nclt,
    recall_by_pose,
)
from hfnet_core.cli.main import app
from hfnet_core.errors import DatasetError


def place(x: float, yaw_deg: float = 0.0, path: Path = Path("x.png")) -> Place:
    yaw = np.radians(yaw_deg)
    return Place(path, np.array([x, 0, 0]), np.array([np.cos(yaw), np.sin(yaw), 0]))


UNIT = np.eye(4, dtype=np.float32)


def test_recall_counts_queries_that_have_a_positive_and_find_one_of_them() -> None:
    database = [place(0), place(5, 180), place(30), place(100)]
    queries = [place(1), place(31), place(500)]
    # the first finds its positive first, the second only at rank 2, the third has none
    rows = np.stack([UNIT[0], 0.8 * UNIT[3] + 0.6 * UNIT[2], UNIT[3]])
    found = recall_by_pose(rows, queries, UNIT, database, Positive(10, 90), at=(1, 2))
    assert (found.asked, found.queries) == (3, 2)
    assert found.recall == (0.5, 1.0)


def test_looking_the_other_way_is_another_view() -> None:
    with pytest.raises(DatasetError, match="no query was taken near"):
        recall_by_pose(UNIT[:1], [place(5)], UNIT[:1], [place(5, 180)])
    found = recall_by_pose(UNIT[:1], [place(5)], UNIT[:1], [place(5, 180)], Positive(10, 181), at=(1,))
    assert found.recall == (1.0,)


def nclt(root: Path) -> Path:
    folder = root / "2012-01-08" / "lb3" / "Cam4"
    folder.mkdir(parents=True)
    for time in (1_000_000, 2_000_000, 9_000_000):
        cv2.imwrite(str(folder / f"{time}.tiff"), textured_image(160, 120))
    rows = "1000000, 0.0, 1.0, 0.0\n2100000, 5.0, 1.0, 1.5707963\n"
    (root / "pose_2012-01-08.csv").write_text(rows)
    return root


def test_nclt_is_read_with_the_nearest_pose_and_images_without_one_are_left_out(tmp_path: Path) -> None:
    places = nclt_places(nclt(tmp_path), "2012-01-08")
    assert [item.path.stem for item in places] == ["1000000", "2000000"]
    assert places[1].position.tolist() == [5, 1, 0]
    assert np.allclose(places[1].direction, [0, 1, 0], atol=1e-6)
    assert as_nclt(textured_image(160, 120)).shape == (640, 488)
    with pytest.raises(DatasetError, match=r"holds no images TIME\.tiff; from http"):
        nclt_places(tmp_path, "2013-02-23")
    (tmp_path / "bad.csv").write_text("1, 2, 3, 4\n5, nan, 1, 1\n")
    with pytest.raises(DatasetError, match="line 2: is not TIME"):
        read_nclt(tmp_path / "bad.csv")


def test_a_damaged_image_is_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), textured_image())
    (tmp_path / "b.png").write_bytes(b"no image")
    places = [place(0, path=tmp_path / "a.png"), place(1, path=tmp_path / "b.png")]
    rows, kept = describe_places(lambda image: UNIT[0], places, lambda image: image)
    assert rows.shape == (1, 4)
    assert kept == places[:1]
    with pytest.raises(DatasetError, match="none of 1 images can be used"):
        describe_places(lambda image: UNIT[0], places[1:], lambda image: image)


def test_the_command_measures_two_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("map", "query"):
        (tmp_path / name).mkdir()
        for number in range(3):
            cv2.imwrite(str(tmp_path / name / f"view{number}.png"), textured_image(160, 120, seed=number))
        rows = [f"{number + 1}.0 {20 * number} 0 0 0 0 0 1" for number in range(3)]
        (tmp_path / name / "poses_tum.txt").write_text("\n".join(rows))
    words = [str(tmp_path / "map"), str(tmp_path / "query"), "--model", str(tiny_model(tmp_path))]
    app(["bench", "retrieval", *words], standalone_mode=False)
    printed = capsys.readouterr().out
    (row,) = ([cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│ hfnet" in line)
    assert row == ["hfnet", "3 of 3", *["100.0%"] * 6]
