"""What holds the package together: versions, import rules, no cycles into ROS or torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest
from wall import view, wall_files

import hfnet_core
from hfnet_core.maps.storage import load_map

ROOT = Path(__file__).parents[2]
ROS = {"rclpy", "tf2_ros", "cv_bridge", "launch", "launch_ros", "ament_index_python", "rosidl_runtime_py"}


def imports(path: Path) -> Iterator[str]:
    """Top-level names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_versions_agree() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    setup = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert package.findtext("version") == hfnet_core.__version__ == setup.stdout.split()[-1]
    assert package.findtext("name") == "hfnet_ros"
    assert package.findtext("license") == "Apache-2.0"


def test_the_core_never_imports_ros() -> None:
    for path in (ROOT / "hfnet_core").rglob("*.py"):
        for module in imports(path):
            top = module.split(".")[0]
            assert top not in ROS and not top.endswith("_msgs") and top != "hfnet_ros", f"{path} imports {module}"


def test_torch_stays_in_training() -> None:
    for path in [*(ROOT / "hfnet_core").rglob("*.py"), *(ROOT / "hfnet_ros").rglob("*.py")]:
        if "training" in path.relative_to(ROOT).parts:
            continue
        for module in imports(path):
            assert module.split(".")[0] not in {"torch", "kornia", "torchvision"}, f"{path} imports {module}"


def test_stages_do_not_import_each_other() -> None:
    stages = {"retrieval", "covisibility", "matching", "pose"}
    for stage in stages:
        used = {module.rsplit(".", 1)[-1] for module in imports(ROOT / "hfnet_core" / "localization" / f"{stage}.py")}
        assert not (used & stages - {stage}), f"{stage} imports {used & stages}"


def test_the_command_starts_without_torch_or_ros(tmp_path: Path) -> None:
    """A robot without the training extra, or a laptop without ROS, can still use the command line."""
    blocked = "\n".join(f"sys.modules[{name!r}] = None" for name in ("torch", "kornia", "rclpy"))
    code = f"import sys\n{blocked}\nfrom hfnet_core.cli.main import app\napp(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("map", "bag", "localize", "eval-bag", "train", "export"):
        assert command in done.stdout


@pytest.mark.parametrize("script", ["localization_node", "player", "evaluate", "build_map"])
def test_executables_for_ros2_run(script: str) -> None:
    path = ROOT / "hfnet_ros" / "executables" / script
    assert path.stat().st_mode & 0o111
    module = "entry" if script == "localization_node" else script
    assert f"hfnet_ros.{module}" in set(imports(path))


EXTRAS = ("pycolmap", "pyceres", "rosbags", "safetensors", "lz4", "apsw", "matplotlib", "evo", "faiss", "distributed")
NO_ROBOT = (*EXTRAS, "typer", "rich")  # what a node must not import


def a_map_of_a_wall(folder: Path) -> tuple[Path, Path, Path]:
    """A model, a map made with it, and an image of the place."""
    model, map_file = wall_files(folder)
    image = folder / "view.png"
    cv2.imwrite(str(image), view(64))
    return model, map_file, image


def without(modules: Iterable[str], code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process in which these modules cannot be imported."""
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    command = [sys.executable, "-c", f"import sys\n{blocked}{code}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_localizer_needs_no_extra_and_no_command_line(tmp_path: Path) -> None:
    """A robot opens a map and localizes in it with numpy, scipy, OpenCV and ONNX Runtime."""
    model, map_file, image = a_map_of_a_wall(tmp_path)
    code = """
from pathlib import Path
from hfnet_core.evaluation.offline import OfflineLocalizer
offline = OfflineLocalizer(Path(sys.argv[2]), Path(sys.argv[1]))
(answer,) = offline.images(Path(sys.argv[3]))
print(type(answer.result).__name__)
"""
    done = without(NO_ROBOT, code, model, map_file, image)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Localized"]


def test_the_node_imports_no_extra_and_no_command_line() -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")
    done = without(NO_ROBOT, "import hfnet_ros.localization_node")
    assert done.returncode == 0, done.stderr
    heavy = (*NO_ROBOT, "scipy.optimize", "scipy.interpolate", "scipy.stats")  # these are there, but slow to import
    code = f"import hfnet_ros.localization_node\nprint([name for name in {heavy!r} if name in sys.modules])"
    assert without((), code).stdout.strip() == "[]"


def test_every_command_can_be_asked_for_help_without_extras() -> None:
    done = without(EXTRAS, "from hfnet_core.cli.main import app\napp(['map', 'build', '--help'])")
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("map", "build", "{bag}", "-o", "a.hfmap"), "bags"),
        (("map", "align", "{map}", "--positions", "{positions}", "-o", "a.hfmap"), "mapping"),
        (("map", "export", "{map}", "-o", "model"), "mapping"),
        (("map", "view", "{map}", "-o", "a.png"), "eval"),
    ],
)
def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path, command: tuple[str, ...], extra: str) -> None:
    _, map_file, _ = a_map_of_a_wall(tmp_path)
    bag, positions = tmp_path / "drive.mcap", tmp_path / "positions.txt"
    bag.write_bytes(b"\x89MCAP0\r\n")
    stamps = load_map(map_file).keyframe_stamps_ns
    rows = [f"{stamp * 1e-9:.9f} {x} {x * x} {x % 2} 0 0 0 1" for x, stamp in enumerate(stamps)]
    positions.write_text("\n".join(rows))
    words = [word.format(bag=bag, map=map_file, positions=positions) for word in command]
    done = without(EXTRAS, "import sys\nsys.argv[0] = 'hfnet'\nfrom hfnet_core.cli.main import main\nmain()", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    said = done.stderr.strip().splitlines()[-1]  # lines of progress may come before it
    assert "Traceback" not in done.stderr
    assert said.startswith("hfnet: ")
    assert f"hfnet_ros[{extra}]" in said
