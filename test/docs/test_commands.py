"""What the documents say to type, typed: every block marked `run-here`, in a fresh copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from pages import PAGES, ROOT, Block, blocks
from wall import CAMERA, wall_bag

from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.storage import save_map
from hfnet_core.recordings.bags import Bag

pytestmark = [pytest.mark.xdist_group("documents"), pytest.mark.timeout(900)]  # one copy, one map, for all of them

BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the working tree, as a clone has them, and what the documents take for given beside them: two
    drives, a map of the first, photos and one photo of the second."""
    folder = tmp_path_factory.mktemp("documents") / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name, shifts in (("drive1", range(0, 321, 40)), ("drive2", range(20, 301, 80))):
        wall_bag(folder / name, shifts)
        shutil.move(folder / name / f"{name}.mcap", folder / f"{name}.mcap")
        shutil.rmtree(folder / name)
    extractor = Extractor(open_backend(), MapBuildConfig().extraction)
    save_map(build_map([folder / "drive1.mcap"], extractor), folder / "hall.hfmap")
    with Bag(folder / "drive2.mcap") as bag:
        (folder / "photos").mkdir()
        for frame in bag.frames():
            cv2.imwrite(str(folder / "photos" / f"{frame.index:03d}.jpg"), frame.image)
    shutil.copy2(folder / "photos" / "001.jpg", folder / "photo.jpg")
    (folder / "queries.txt").write_text(
        f"001.jpg {CAMERA.model} {CAMERA.width} {CAMERA.height} {' '.join(map(str, CAMERA.params))}\n"
    )
    return folder


def run(block: Block, folder: Path) -> str:
    """What a block prints; fails where it does."""
    if "hfnet_ros" in block.body:
        pytest.importorskip("rclpy")
    domain = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(1 + os.getpid() % 100)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    interpreter = ["bash", "-euo", "pipefail"] if block.language == "bash" else [sys.executable]
    done = subprocess.run(
        [*interpreter, "-c", block.body],
        cwd=folder,
        env={**os.environ, **domain, "PYTHONPATH": str(folder), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.page}:\n{block.body}\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.mark == "run-here"}), ids=str)
def test_what_is_marked_runs_as_written(page: Path, clone: Path) -> None:
    for block in blocks(page):
        if block.mark == "run-here":
            run(block, clone)


def test_ten_lines_of_python_in_the_readme_localize_an_image(clone: Path) -> None:
    (snippet,) = (block for block in blocks(Path("README.md")) if block.language == "python")
    said = run(snippet, clone)
    x, y, z = (float(number) for number in said.strip("[] \n").split())
    with Bag(clone / "drive2.mcap") as bag:
        truth = next(frame.map_from_camera for frame in bag.frames() if frame.index == 1)
    assert truth is not None
    assert abs(truth.translation - (x, y, z)).max() < 0.1


def test_what_is_left_to_ci_is_run_by_it() -> None:
    """Commands too long for this test."""
    steps = (ROOT / ".ci/run").read_text()
    left = [block for block in BLOCKS if block.mark == "run-by-ci"]
    lines = [line.split("#")[0].strip() for block in left for line in block.body.splitlines()]
    assert lines
    for line in filter(None, lines):
        assert any(step.startswith(line) for step in steps.splitlines()), f"{line}: .ci/run does not run it"


def test_marks_are_on_blocks_that_can_run() -> None:
    marks = sum((ROOT / page).read_text().count("<!-- run-") for page in PAGES if page.name != "CONTRIBUTING.md")
    marked = [block for block in BLOCKS if block.mark and block.page.name != "CONTRIBUTING.md"]
    assert len(marked) == marks, "a mark stands somewhere else than right before a fenced block"
    assert {block.language for block in marked} <= {"bash", "python"}
