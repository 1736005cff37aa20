"""A full disk: one line, the last good file as it was, nothing left behind. By a limit on the size of files."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from helpers import textured_image
from scene import Scene, walk

from hfnet_core.errors import DatasetError
from hfnet_core.files import whole_file, written_whole
from hfnet_core.maps.storage import save_map

LARGEST_FILE = 8_000  # bytes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a map and photos."""
    folder = tmp_path_factory.mktemp("place")
    save_map(Scene.make(points=1500).build_map(walk(12)), folder / "a.hfmap")
    (folder / "photos").mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / "photos" / f"{index:03d}.png"), textured_image(320, 240, index))
    return folder


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


COMMANDS = {
    "bag, mcap": ("bag", "from-images", "photos", "-o", "out"),
    "bag, sqlite3": ("bag", "from-images", "photos", "-o", "out", "--storage", "sqlite3"),
    "bag, rosbag1": ("bag", "from-images", "photos", "-o", "out.bag", "--storage", "rosbag1"),
    "view, html": ("map", "view", "a.hfmap", "-o", "out.html"),
    "view, png": ("map", "view", "a.hfmap", "-o", "out.png"),
    "export, binary": ("map", "export", "a.hfmap", "-o", "out"),
    "export, text": ("map", "export", "a.hfmap", "-o", "out", "--text"),
    "export, ply": ("map", "export", "a.hfmap", "-o", "out.ply"),
    "features, npz": ("export-features", "photos", "out", "--features", "sift"),
    "features, h5": ("export-features", "photos", "out.h5", "--features", "sift"),
    "align": ("map", "align", "a.hfmap", "-o", "out.hfmap", "--transform", "1 0 0 0 0 0 1"),
    "prune": ("map", "prune", "a.hfmap", "-o", "out.hfmap", "--max-landmarks", "900"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk_is_said_in_one_line_and_leaves_everything_as_it_was(
    place: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    if "out.h5" in command:
        pytest.importorskip("h5py", reason="h5py is not installed: pip install 'hfnet_ros[hloc]'")
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-m", "hfnet_core", *command], cwd=tmp_path, preexec_fn=limit, check=False,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("hfnet: out"), last
    assert "written" in last
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_of_the_same_name_stays_where_the_new_one_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    written_whole(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"a\.txt: cannot be written \(No space left on device\); make room"):
        written_whole(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_of_the_writer_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a"):
        (tmp_path / "none").read_bytes()
    assert not list(tmp_path.iterdir())


def test_a_planted_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "out.txt").symlink_to(tmp_path / "precious")
    written_whole(tmp_path / "out.txt", "new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "out.txt").read_text() == "new"
    assert not (tmp_path / "out.txt").is_symlink()


@pytest.mark.parametrize(
    "error", ["MemoryError", "ImportError('x.so: failed to map segment from shared object')",
              "RuntimeError(\"[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\")"],
)  # fmt: skip
def test_too_little_memory_is_one_line(error: str) -> None:
    code = f"import hfnet_core.cli.main as m\ndef full(): raise {error}\nm.app = full\nm.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "hfnet: out of memory; close other programs, or use smaller images or maps\n"


@pytest.mark.timeout(900)
def test_after_a_kill_a_full_or_locked_disk_a_jump_of_the_clock_or_a_twin_the_next_run_ends_well() -> None:
    """A slice of `test/bench/faults.py`, which does this to every command that writes."""
    bench = Path(__file__).resolve().parents[1] / "bench" / "faults.py"
    command = [sys.executable, str(bench), "--command", "map align", "bag rosbag1", "--kills", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| map align", "| bag rosbag1"))]
    assert len(rows) >= 2 * 4  # kill, memory, clock and two; full and read-only where a disk may be mounted
    assert not any("traceback" in row for row in rows if "memory" not in row)
