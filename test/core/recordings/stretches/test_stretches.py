"""Stretches of a drive that are kept: bounded, whole, and read again as recordings."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import textured_image

from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Pose
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.stretches.folder import KeptImage, StretchFolder
from hfnet_core.recordings.stretches.reading import recordings_of
from hfnet_core.types import Camera

CAMERA = Camera("OPENCV", 160, 120, (150.0, 150.0, 79.5, 59.5, -0.1, 0.01, 0.0, 0.0))
START_NS = 1_700_000_000_000_000_000


def image(index: int, odometry: bool = True, source: str = "", start_ns: int = START_NS) -> KeptImage:
    pose = Pose(translation=np.array([0.1 * index, 0.0, 0.0])) if odometry else None
    return KeptImage(start_ns + index * 10**8 + 123, textured_image(seed=index), CAMERA, pose, source)


def test_what_is_kept_is_a_recording_with_camera_stamps_and_odometry(tmp_path: Path) -> None:
    folder = StretchFolder(tmp_path, 10**9)
    for index in range(4):
        folder.keep(image(index))
    with recordings_of([tmp_path]) as paths, Bag(paths[0]) as bag:
        frames = list(bag.frames())
        assert [frame.stamp_ns for frame in frames] == [image(index).stamp_ns for index in range(4)]
        assert frames[3].map_from_camera is not None
        assert frames[3].map_from_camera.translation == pytest.approx([0.3, 0, 0], abs=1e-6)
        assert frames[0].camera.params == pytest.approx(CAMERA.params)
        difference = np.abs(np.mean(frames[2].image, axis=-1) if frames[2].image.ndim == 3 else frames[2].image - 0.0)
        assert np.abs(difference - textured_image(seed=2)).mean() < 6  # JPEG
    assert not paths[0].exists()


def test_images_without_odometry_and_other_cameras_are_apart(tmp_path: Path) -> None:
    folder = StretchFolder(tmp_path, 10**9)
    kinds = [(True, "left"), (True, "right"), (False, "left"), (True, "left"), (True, "right"), (True, "left")]
    for index, (odometry, source) in enumerate(kinds):
        folder.keep(image(index, odometry, source))
    assert len(folder.drives()) == 3
    with recordings_of(folder.drives()) as paths:
        counts = []
        for path in paths:
            with Bag(path) as bag:
                counts.append((len(bag), bag.has_poses))
    assert sorted(counts) == [(1, False), (2, True), (3, True)]


def test_the_oldest_drive_goes_first_then_the_oldest_images(tmp_path: Path) -> None:
    first = StretchFolder(tmp_path, 10**9)
    size = first.keep(image(0)).stat().st_size
    later = StretchFolder(tmp_path, 4 * 4096 + int(3.5 * (size + 4096)))  # with what folders and ends of files take
    for index in range(6):
        later.keep(image(index, start_ns=START_NS + 10**12))
    drives = later.drives()
    assert [drive.name for drive in drives] == [f"{START_NS + 10**12 + 123:019d}"]
    kept = sorted(path.name for path in (drives[0] / "images").iterdir())
    assert 2 <= len(kept) <= 4
    assert kept[-1].startswith(image(5, start_ns=START_NS + 10**12).stem)
    assert sum(path.stat().st_size for path in (drives[0] / "images").iterdir()) <= 3.5 * (size + 4096)


def test_what_others_put_beside_them_stays(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "holiday.jpg").write_bytes(bytes(10**6))
    folder = StretchFolder(tmp_path, 1)
    folder.keep(image(0))
    assert (tmp_path / "0" / "holiday.jpg").exists()


def test_a_folder_of_others_that_looks_like_a_drive_stays(tmp_path: Path) -> None:
    (tmp_path / "holiday" / "images").mkdir(parents=True)
    (tmp_path / "holiday" / "camera.json").write_text("{}")
    (tmp_path / "holiday" / "images" / "a.jpg").write_bytes(bytes(10**6))
    folder = StretchFolder(tmp_path, 1)
    folder.keep(image(0))
    assert (tmp_path / "holiday" / "images" / "a.jpg").exists()
    assert [drive.name for drive in folder.drives()] == [f"{image(0).stamp_ns:019d}"]


def test_nothing_is_written_through_planted_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    planted = tmp_path / "weak" / f"{image(0).stamp_ns:019d}"
    (planted / "images").mkdir(parents=True)
    for name in ("camera.json", "poses_tum.txt", f"images/{image(0).stem}.part"):
        (planted / name).symlink_to(precious)
    folder = StretchFolder(tmp_path / "weak", 10**9)
    kept = folder.keep(image(0))
    assert precious.read_text() == "mine"
    assert kept.parents[1].name == f"{planted.name}+2"
    (kept.parent / f"{image(1).stem}.part").symlink_to(precious)
    folder.keep(image(1))
    assert precious.read_text() == "mine"


def test_many_small_files_count_as_what_they_take_of_the_disk(tmp_path: Path) -> None:
    folder, dark = StretchFolder(tmp_path, 300_000), np.zeros((16, 16), np.uint8)
    for index in range(30):
        camera = Camera("PINHOLE", 16, 16, (10.0 + index, 10.0, 8.0, 8.0))
        folder.keep(KeptImage(START_NS + index, dark, camera, Pose()))
    assert len(folder.drives()) < 16
    assert len(list(tmp_path.iterdir())) < 16


def test_poses_of_a_long_drive_do_not_fill_the_disk(tmp_path: Path) -> None:
    folder, dark = StretchFolder(tmp_path, 100_000), np.zeros((16, 16), np.uint8)
    camera = Camera("PINHOLE", 16, 16, (10.0, 10.0, 8.0, 8.0))
    kept = {folder.keep(KeptImage(START_NS + index * 10**9, dark, camera, Pose())).parents[1] for index in range(400)}
    assert len(kept) > 2
    assert sum(path.stat().st_size for path in tmp_path.rglob("poses_tum.txt")) < 20_000
    assert (folder.drives()[-1] / "images" / f"{(START_NS + 399 * 10**9) // 10**9}.000000000.jpg").exists()


def test_bags_pass_through(tmp_path: Path) -> None:
    with recordings_of([tmp_path / "a.bag", tmp_path]) as paths:
        assert paths == [tmp_path / "a.bag", tmp_path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DatasetError, match="cannot be written"):
        StretchFolder(tmp_path / "weak", 10**6).keep(image(0))


def test_a_file_in_place_of_the_folder_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "weak").write_text("no folder")
    with pytest.raises(DatasetError, match="weak: cannot be written"):
        StretchFolder(tmp_path / "weak", 10**6).keep(image(0))


def test_a_disk_that_is_full_for_a_moment_leaves_no_half_of_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened = StretchFolder(tmp_path, 10**9), Path.open
    folder.keep(image(0))

    class Full:
        """Takes ten characters."""

        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, text: str) -> None:
            self._file.write(text[:10])
            self._file.flush()
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path: Path, mode: str = "r", *more: Any, **how: Any) -> Any:
        file = opened(path, mode, *more, **how)
        return Full(file) if path.name == "poses_tum.txt" and "a" in mode else file

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(DatasetError, match="No space left"):
            folder.keep(image(1))
    folder.keep(image(2))
    with recordings_of([tmp_path]) as paths, Bag(paths[0]) as bag:
        assert [frame.stamp_ns for frame in bag.frames()] == [image(index).stamp_ns for index in (0, 2)]
