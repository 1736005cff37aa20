"""Lists of queries with cameras, files of results, and both through `hfnet localize`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from wall import CAMERA, map_from_camera, noise_image, view, wall_files

from hfnet_core.errors import ConfigError, DatasetError
from hfnet_core.evaluation.query_list import read_query_list, result_names, write_query_list, write_results
from hfnet_core.geometry import Pose, pose_error


def written(folder: Path, text: str) -> Path:
    path = folder / "queries.txt"
    path.write_text(text)
    return path


def test_cameras_come_in_our_pixels(tmp_path: Path) -> None:
    path = written(tmp_path, "# name and camera\n\nnight/a.jpg SIMPLE_RADIAL 1600 1200 1469.2 800 600 -0.04\n"
                             "b.jpg OPENCV 640 480 500 501 320 240 0.1 0.2 0.3 0.4  # comment\n")  # fmt: skip
    (first, radial), (second, opencv) = read_query_list(path)
    assert (first, second) == ("night/a.jpg", "b.jpg")
    assert (radial.model, radial.width, radial.height) == ("SIMPLE_RADIAL", 1600, 1200)
    assert radial.params == pytest.approx((1469.2, 799.5, 599.5, -0.04))  # COLMAP's pixels begin half a pixel earlier
    assert opencv.params == pytest.approx((500, 501, 319.5, 239.5, 0.1, 0.2, 0.3, 0.4))


def test_a_list_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jpg SIMPLE_RADIAL 1600 1200 1469.2 800 600 -0.04\nb.jpg PINHOLE 64 48 50 51 32 24\n")
    write_query_list(tmp_path / "again.txt", read_query_list(path))
    assert (tmp_path / "again.txt").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.jpg", "is not NAME MODEL"), ("a.jpg PINHOLE 640", "is not NAME MODEL"),
        ("a.jpg PINHOLE 640 480 500 500 x 240", "is not NAME MODEL"),
        ("a.jpg PINHOLE 640 nan 500 500 320 240", "is not NAME MODEL"),
        ("a.jpg TAPE 640 480 500", "'TAPE' is no camera model"), ("a.jpg PINHOLE 640 480 500 320 240", "3 parameters"),
        ("a.jpg EQUIRECTANGULAR 640 480 640 480", "EQUIRECTANGULAR"),
        ("a.jpg PINHOLE 640 480 -500 500 320 240", "focal"),
        ("a PINHOLE -1 480 1 1 1 1", "-1 is no side"), ("a PINHOLE 640.5 480 1 1 1 1", "640.5 is no side"),
        ("a PINHOLE 18446744073709551616 480 500 500 320 240", "18446744073709551616 is no side"),
        ("a PINHOLE 100000 100000 500 500 320 240", "more than the limit"),
        ("a PINHOLE 640 480 inf 500 320 240", "not finite"), ("a PINHOLE 640 480 1e300 500 320 240", "too large"),
    ],
)  # fmt: skip
def test_lines_that_are_no_camera_are_named(tmp_path: Path, line: str, reason: str) -> None:
    path = written(tmp_path, f"good.jpg PINHOLE 640 480 500 500 320 240\n{line}\n")
    with pytest.raises(DatasetError, match=reason) as caught:
        read_query_list(path)
    assert f"{path}, line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read as a list of queries"):
        read_query_list(tmp_path / "none.txt")
    with pytest.raises(DatasetError, match="names no images"):
        read_query_list(written(tmp_path, "# nothing\n"))


def test_results_are_camera_from_map_by_short_names(tmp_path: Path) -> None:
    pose = Pose(Rotation.from_euler("z", 90, degrees=True).as_matrix(), np.array([1.0, 2.0, 3.0]))
    images = ["x/rear/1.jpg", "x/left/1.jpg"]
    with pytest.raises(ConfigError, match=r"called 1\.jpg"):
        result_names(images, 1)
    write_results(tmp_path / "r.txt", zip(result_names(images, 2), [pose, Pose(np.eye(3), np.zeros(3))], strict=True))
    turned, straight = (line.split() for line in (tmp_path / "r.txt").read_text().splitlines())
    assert (turned[0], straight[0]) == ("rear/1.jpg", "left/1.jpg")
    half = 0.5**0.5
    assert [float(value) for value in turned[1:]] == pytest.approx([half, 0, 0, -half, -2, 1, -3])
    assert [float(value) for value in straight[1:]] == [1, 0, 0, 0, 0, 0, 0]


def test_through_the_command(tmp_path: Path) -> None:
    model, map_file = wall_files(tmp_path)
    images = tmp_path / "images"
    (images / "day").mkdir(parents=True)
    for shift in (40, 88):
        cv2.imwrite(str(images / "day" / f"{shift}.png"), view(shift))
    cv2.imwrite(str(images / "noise.png"), noise_image())
    (images / "damaged.png").write_bytes(b"no image")
    cv2.imwrite(str(images / "small.png"), view(40)[:120])
    fx, fy, cx, cy = CAMERA.params
    camera = f"PINHOLE {CAMERA.width} {CAMERA.height} {fx} {fy} {cx + 0.5} {cy + 0.5}"
    names = ["day/40.png", "damaged.png", "noise.png", "small.png", "day/88.png"]
    queries = written(tmp_path, "".join(f"{name} {camera}\n" for name in names))
    results = tmp_path / "results.txt"

    def localize(*more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hfnet_core", "localize", map_file, images, "--model", model, *more]
        return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)

    page = tmp_path / "gallery.html"
    done = localize("--queries", queries, "--output", results, "--gallery", page)
    assert done.returncode == 0, done.stderr
    assert "2 of 5 images localized" in done.stdout
    assert "is 320x120, its calibration 320x240" in done.stdout
    found = [line.split() for line in results.read_text().splitlines()]
    assert [row[0] for row in found] == ["40.png", "88.png"]
    for row, shift in zip(found, (40, 88), strict=True):
        w, x, y, z, *translation = (float(value) for value in row[1:])
        camera_from_map = Pose.from_quat_xyzw([x, y, z, w], translation)
        metres, degrees = pose_error(camera_from_map.inverse(), map_from_camera(shift))
        assert metres < 0.05
        assert degrees < 1.0

    pictures = page.read_text()
    assert pictures.count("data:image/jpeg") == 4  # all but the damaged one
    assert pictures.index("without a right pose") < pictures.index("noise.png") < pictures.index("40.png: ")
    assert "give --queries" in localize("--gallery", page).stderr
    assert "no such folder" in localize("--queries", queries, "--output", tmp_path / "none" / "r.txt").stderr
    refused = localize("--queries", queries, "--calibration", queries)
    assert "give one of them" in refused.stderr
    (images / "night").mkdir()
    (images / "night" / "40.png").write_bytes((images / "day" / "40.png").read_bytes())
    doubled = written(tmp_path, f"day/40.png {camera}\nnight/40.png {camera}\n")
    assert "called 40.png: name them by more parts" in localize("--queries", doubled, "--output", results).stderr
    assert "2 of 2 images localized" in localize("--queries", doubled).stdout  # nothing is written, no name needed
    queries = written(tmp_path, "".join(f"{name} {camera}\n" for name in names))
    (images / "noise.png").unlink()
    assert "1 of 5 images of the list are not there, first noise.png" in localize("--queries", queries).stderr
