from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from bags import write_bag
from helpers import shared_data, textured_image, tiny_model
from scene import Scene, places_map, walk

from hfnet_core.cli.main import main
from hfnet_core.geometry import Pose
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.recordings.image_folder import list_folder
from hfnet_core.recordings.options import BagOptions


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was written to standard error."""
    monkeypatch.setattr("sys.argv", ["hfnet", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0), capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "walk"
    (out / "images").mkdir(parents=True)
    lines = []
    for number in range(0, 12, 2):
        cv2.imwrite(str(out / "images" / f"{number:06d}.png"), textured_image(160, 120, number))
        lines.append(f"{1 + number / 10} {number / 10} 0 0 0 0 0 1 {number:06d}\n")
    (out / "poses_tum.txt").write_text("".join(lines))
    camera = {"model": "PINHOLE", "width": 160, "height": 120, "fx": 100, "fy": 100, "cx": 80, "cy": 60}
    (out / "camera.json").write_text(json.dumps(camera))
    return out


@pytest.mark.parametrize("storage", ["mcap", "sqlite3", "rosbag1"])
def test_images_become_a_bag(folder: Path, storage: str, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    output = folder.parent / ("out.bag" if storage == "rosbag1" else "out")
    arguments = ("bag", "from-images", folder, "-o", output, "--storage", storage, "--first", 2, "--last", 8)
    assert run(monkeypatch, capsys, *arguments)[0] == 0
    with Bag(output) as bag:
        frames = list(bag.frames())
    assert [frame.stamp_ns for frame in frames] == [1_200_000_000, 1_400_000_000, 1_600_000_000, 1_800_000_000]
    assert frames[0].map_from_camera is not None
    assert frames[0].map_from_camera.translation[0] == pytest.approx(0.2)
    code, error = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "exists already" in error


def test_folders_by_stamp_order_and_rate(folder: Path) -> None:
    poses = folder / "poses_tum.txt"
    assert len(list_folder(folder, poses, rate_hz=10, every=2)) == 3
    poses.write_text("".join(f"{i} {i} 0 0 0 0 0 1\n" for i in (5, 6, 7, 8, 9, 10)))
    frames = list_folder(folder, poses, rate_hz=10)
    assert [frame.stamp_ns // 10**9 for frame in frames] == [6, 8, 10]  # found by name as stamps
    shutil.move(folder / "images" / "000006.png", folder / "images" / "a.png")
    frames = list_folder(folder, None, rate_hz=10)
    assert [frame.stamp_ns for frame in frames] == [(i + 1) * 10**8 for i in range(6)]


def test_folder_refusals(folder: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    for arguments, message in (
        (("bag", "from-images", folder / "none", "--camera", folder / "camera.json"), "no such folder"),
        (("bag", "from-images", folder, "--first", 99), "no image has a frame number"),
        (("bag", "from-images", folder, "--camera", folder / "none.json"), "none.json"),
    ):
        code, error = run(monkeypatch, capsys, *arguments, "-o", folder.parent / "out")
        assert code == 2
        assert message in error
        assert not (folder.parent / "out").exists()


def test_images_without_a_calibration_become_a_bag(folder: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    output = folder.parent / "out"
    code, error = run(monkeypatch, capsys, "bag", "from-images", folder / "images", "-o", output)
    assert code == 0
    assert "no calibration" in error
    with Bag(output, BagOptions(camera_optional=True)) as bag:
        assert len(bag) == 6
        assert bag.camera_unknown
        assert not bag.has_poses


def test_map_build_refuses_in_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    model = tiny_model(tmp_path)
    bag = write_bag(tmp_path / "bag", poses=False)
    before = sorted(tmp_path.iterdir())
    for arguments, message in (
        ((bag, "-o", tmp_path / "m.hfmap"), "bag: no poses, and images alone show no scale"),
        ((bag, "-o", tmp_path / "m.hfmap", "--pose-mode", "given"), "has no poses"),
        ((bag, "-o", tmp_path / "m.hfmap", "--pose-mode", "guessed"), "pose_mode"),
        ((bag, "-o", tmp_path / "m.hfmap", "--known-distance", "0 1"), "A B METRES"),
        ((bag, "-o", tmp_path / "m.hfmap", "--scale-free"), "could not be put together"),
        ((bag, "-o", tmp_path / "m.bin"), "ends in .hfmap"),
        ((bag, "-o", tmp_path / "none" / "m.hfmap"), "no such directory"),
        ((bag, "-o", tmp_path / "m.hfmap", "--image-topic", "/x"), "no topic /x; the bag has"),
        ((bag, "-o", tmp_path / "m.hfmap", "--base-from-camera", "1 2"), "x y z qx qy qz qw"),
        ((bag, "-o", tmp_path / "m.hfmap", "--keyframe-distance-m", "-1"), "keyframe_distance_m"),
        ((tmp_path / "missing", "-o", tmp_path / "m.hfmap"), "no such bag"),
    ):
        code, error = run(monkeypatch, capsys, "map", "build", *arguments, "--model", model)
        assert code == 2
        assert message in error
        assert "Traceback" not in error
        assert sorted(tmp_path.iterdir()) == before


def test_map_info_of_a_missing_or_damaged_map(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    code, error = run(monkeypatch, capsys, "map", "info", tmp_path / "none.hfmap")
    assert code == 2
    assert "no such map" in error
    (tmp_path / "bad.hfmap").write_bytes(b'\x10\0\0\0\0\0\0\0{"__metadata__":')
    code, error = run(monkeypatch, capsys, "map", "info", tmp_path / "bad.hfmap")
    assert code == 2
    assert "bad.hfmap" in error


def test_real_recording_gives_the_same_map_from_every_container(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    files = []
    for name in ("redkitchen40_ros1.bag", "redkitchen40_db3", "redkitchen40_mcap"):
        output = tmp_path / f"{name}.hfmap"
        code, error = run(monkeypatch, capsys, "map", "build", shared_data("data", "bags", name), "-o", output)
        assert code == 0, error
        files.append(output.read_bytes())
    assert files[0] == files[1] == files[2]
    found = load_map(output)
    assert found.keyframes >= 4
    assert found.landmarks > 300
    extent = np.ptp(np.quantile(found.landmarks_xyz, (0.05, 0.95), axis=0), axis=0)
    assert (extent < 10).all()  # a kitchen
    assert run(monkeypatch, capsys, "map", "info", output)[0] == 0


def test_map_check_stores_look_alikes_only_when_asked(tmp_path: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    room, path = Scene.make(1500), tmp_path / "twice.hfmap"
    save_map(places_map([(room, Pose(translation=np.array([x, 0.0, 0.0])), walk(10)) for x in (0.0, 100.0)]), path)
    before = path.read_bytes()
    assert run(monkeypatch, capsys, "map", "check", path)[0] == 0
    assert path.read_bytes() == before
    assert run(monkeypatch, capsys, "map", "check", path, "--store")[0] == 0
    assert len(load_map(path, verify=True).alike_keyframes) > 10
