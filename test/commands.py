"""Every command that writes, with small inputs for it, to see what becomes of its output when something goes wrong."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from bags import wall_drive
from checkpoint_writer import write_checkpoint
from helpers import random_variables, textured_image, tiny_model

from hfnet_core.benchmarks.judgement.collection import Hypotheses, source_key
from hfnet_core.config import MapBuildConfig
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.localization.confidence import DENSE
from hfnet_core.mapping.live.drive_folder import DriveFolder
from hfnet_core.mapping.live.mapper import LiveFrame, LiveMapper, LiveSource
from hfnet_core.maps.storage import load_map, save_map
from hfnet_core.recordings.bags import Bag
from hfnet_core.synthetic.copies import write_copy

__all__ = ["COMMANDS", "Command", "Run", "content", "load_libraries", "make_inputs", "start"]

REPOSITORY = Path(__file__).resolve().parents[1]
OLD = b"the last good file"


@dataclass(frozen=True)
class Command:
    """arguments: of `hfnet`, or of the interpreter (a script); relative paths begin in the inputs' folder, OUT is the
    folder of the output. output: its name. replaces: a file of before; the others refuse to, or go on with it. steady:
    the same inputs give the same bytes. begins: the input that is the last good file, for what changes a file where it
    is; else it may be anything. beside: an input that the command writes to as well, copied into OUT. needs: modules
    without which it cannot run.
    """

    arguments: tuple[str, ...]
    output: str
    replaces: bool = True
    steady: bool = True
    script: bool = False
    needs: tuple[str, ...] = ()
    begins: str = ""
    beside: str = ""

    def is_possible(self) -> bool:
        return all(importlib.util.find_spec(name) is not None for name in self.needs)

    def lay_out_old(self, inputs: Path, out: Path) -> None:
        """The last good file, and what is beside it."""
        if self.beside:
            shutil.copytree(inputs / self.beside, out / self.beside)
        if self.begins:
            shutil.copyfile(inputs / self.begins, out / self.output)
        elif self.replaces:
            (out / self.output).parent.mkdir(parents=True, exist_ok=True)
            (out / self.output).write_bytes(OLD)


def _map(*arguments: str) -> Command:
    return Command(("map", *arguments, "-o", "OUT/new.hfmap"), "new.hfmap")


COMMANDS = {
    "map build": _map("build", "first"),
    "map build drive": Command(
        ("map", "build", "OUT/drive.hfdrive", "-o", "OUT/new.hfmap"), "new.hfmap", beside="drive.hfdrive"
    ),
    "map update": _map("update", "first.hfmap", "first"),
    "map extend": _map("extend", "first.hfmap", "second"),
    "map upgrade": _map("upgrade", "first.hfmap", "first"),
    "map merge": _map("merge", "first.hfmap", "second.hfmap"),
    "map check --store": Command(("map", "check", "OUT/new.hfmap", "--store"), "new.hfmap", begins="unlike.hfmap"),
    "map align": _map("align", "first.hfmap", "--transform", "1 0 0 0 0 0 1"),
    "map prune": _map("prune", "first.hfmap", "--max-landmarks", "140"),
    "map import": _map("import", "model"),
    "map view html": Command(("map", "view", "first.hfmap", "-o", "OUT/new.html"), "new.html"),
    "map view png": Command(("map", "view", "first.hfmap", "-o", "OUT/new.png"), "new.png"),
    "map export": Command(("map", "export", "first.hfmap", "-o", "OUT/model"), "model", replaces=False),
    "map export text": Command(("map", "export", "first.hfmap", "-o", "OUT/model", "--text"), "model", replaces=False),
    "map export ply": Command(("map", "export", "first.hfmap", "-o", "OUT/new.ply"), "new.ply"),
    "bag mcap": Command(("bag", "from-images", "photos", "-o", "OUT/new"), "new", replaces=False),
    "bag sqlite3": Command(
        ("bag", "from-images", "photos", "-o", "OUT/new", "--storage", "sqlite3"), "new", replaces=False
    ),
    "bag rosbag1": Command(
        ("bag", "from-images", "photos", "-o", "OUT/new.bag", "--storage", "rosbag1"), "new.bag", replaces=False
    ),
    "localize bag": Command(("localize", "first.hfmap", "second", "--output", "OUT/new.txt"), "new.txt"),
    "localize queries": Command(
        ("localize", "first.hfmap", "photos", "--queries", "queries.txt", "--output", "OUT/new.txt"), "new.txt"
    ),
    "localize gallery": Command(
        (
            *("localize", "first.hfmap", "photos", "--queries", "queries.txt", "--map-images", "first"),
            *("--output", "OUT/new.txt", "--gallery", "OUT/new.html"),
        ),
        "new.html", steady=False,
    ),
    "eval-bag json": Command(("eval-bag", "first.hfmap", "second", "--json", "OUT/new.json"), "new.json", steady=False),
    "eval-bag picture": Command(
        ("eval-bag", "first.hfmap", "second", "--picture", "OUT/new.png"), "new.png", steady=False
    ),
    "eval-bag report": Command(
        ("eval-bag", "first.hfmap", "second", "--report", "OUT/new.html"), "new.html", steady=False
    ),
    "benchmark": Command(
        ("benchmark", "cambridge", "cambridge", "-o", "OUT/new"), "new/cambridge_hfnet.txt", replaces=False
    ),
    "export-features npz": Command(("export-features", "photos", "OUT/new"), "new", replaces=False),
    "export-features h5": Command(
        ("export-features", "photos", "OUT/new.h5"), "new.h5", begins="some.h5", needs=("h5py",)
    ),
    "match-features": Command(
        ("match-features", "features.h5", "OUT/new.h5", "--retrieved", "4"),
        "new.h5", begins="pairs.h5", steady=False,  # matching once more writes the same elsewhere in the file
        needs=("h5py",),
    ),
    "engine tune": Command(("engine", "tune", "--size", "160x120", "--cache-dir", "OUT/new"), "new", replaces=False,
                           steady=False),
    "calibrate": Command(
        (
            *("calibrate", "first.hfmap=second", "first.hfmap=collected", "--foreign", "foreign", "--every", "6"),
            *("--most-foreign", "2", "-o", "OUT/new.json", "--work", "OUT/work"),
        ),
        "new.json", beside="work", begins="judgement.json",
    ),
    "engine quantize": Command(
        ("engine", "quantize", "first", "--output", "OUT/new.onnx", "--model", "tiny0.onnx"), "new.onnx"
    ),
    "import-checkpoint": Command(
        ("import-checkpoint", "weights", "-o", "OUT/new.onnx"), "new.onnx", needs=("google_crc32c",)
    ),
    "train": Command(
        (str(REPOSITORY / "test/tiny_training.py"), "pool", "OUT/run"), "run/hfnet.onnx", replaces=False, steady=False,
        script=True, needs=("torch", "kornia"),
    ),
    "export": Command(("export", "trained.pt", "OUT/new.onnx"), "new.onnx", needs=("torch",)),
}  # fmt: skip


def load_libraries() -> None:
    """What commands import; once, instead of in every process."""
    ours = ("cli.main", "evaluation.offline", "mapping.builder")
    theirs = ("pycolmap", "pyceres", "rosbags.rosbag2", "onnxruntime", "scipy.spatial", "torch", "kornia")
    for name in (*(f"hfnet_core.{name}" for name in ours), *theirs):
        with suppress(ImportError):
            importlib.import_module(name)


def make_inputs(folder: Path) -> None:
    """What all commands read. Raises RuntimeError where a command fails without any fault."""
    wall_drive(folder / "first")
    wall_drive(folder / "second", frames=6)
    wall_drive(folder / "collected", frames=1)
    (folder / "photos").mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / "photos" / f"{index:03d}.png"), textured_image(160, 120, index))
    (folder / "foreign").mkdir()
    for index in range(20):
        cv2.imwrite(str(folder / "foreign" / f"{index:03d}.png"), textured_image(160, 120, 100 + index))
    lines = [f"{index:03d}.png PINHOLE 160 120 100 100 80 60" for index in range(6)]
    (folder / "queries.txt").write_text("\n".join(lines) + "\n")
    tiny_model(folder)
    write_checkpoint(folder / "weights", random_variables(NetworkSpec()))
    for name in ("first", "second"):
        _run(folder, "map", "build", name, "-o", f"{name}.hfmap")
    _run(folder, "map", "export", "first.hfmap", "-o", "model")
    _in_child(lambda: _unlike(folder))
    _in_child(lambda: _collected(folder))
    _in_child(lambda: _drive(folder))
    _in_child(lambda: write_copy("cambridge", folder / "cambridge"))
    if COMMANDS["match-features"].is_possible():
        _features(folder)
    if COMMANDS["train"].is_possible():
        _pool(folder / "pool")
        if (run := start(COMMANDS["train"], folder, folder)).wait():
            raise RuntimeError(f"training fails without any fault: {run.errors[-2000:]}")
        shutil.move(folder / "run" / "trained.pt", folder / "trained.pt")
        shutil.rmtree(folder / "run")


def _in_child(work: Callable[[], object]) -> None:
    """Threads that libraries keep from their first work on would be missing in every process forked later."""
    process = os.fork()
    if not process:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("inputs cannot be made")


def _unlike(folder: Path) -> None:
    """A map with look-alike places that are none."""
    built = load_map(folder / "first.hfmap")
    false = {"alike_keyframes": np.zeros(1, np.int32), "alike_poses": built.keyframe_poses[1:2]}
    save_map(replace(built, **false), folder / "unlike.hfmap")


def _collected(folder: Path) -> None:
    """What a calibration keeps of a recording, and a judgement of another network."""
    (folder / "work").mkdir()
    rng, count = np.random.default_rng(0), 200
    right = np.arange(count) % 2 == 0
    texts = {"family": np.full(count, "plain"), "source": np.full(count, "collected")}
    error = np.where(right[:, None], 0.01, 9.0) * np.ones(2)
    numbers = rng.normal(size=(count, len(DENSE))) + right[:, None]
    photos = sorted(path.name for path in (folder / "foreign").iterdir())
    asked = open_backend(None, "onnxruntime").info.model_hash, 6, 2, *photos
    key = source_key(folder / "first.hfmap", folder / "collected", asked)  # as the command asks
    hypotheses = Hypotheses(numbers, right, np.arange(count), **texts, error=error)
    hypotheses.save(folder / "work" / f"collected-{key}.npz")
    judged = {"bias": 1.0, "weights": {"inliers": 2.0}}
    (folder / "judgement.json").write_text(json.dumps({"0" * 64: {"dense": judged, "sparse": judged}}))


def _drive(folder: Path) -> None:
    """What a mapping node keeps of the first recording."""
    extractor, config = Extractor(open_backend(None, "onnxruntime")), MapBuildConfig()
    drive, source = DriveFolder(folder / "drive.hfdrive"), LiveSource("/camera/image", poses="/odom", frame="map")
    with drive.recording(extractor.info, config), Bag(folder / "first") as bag:
        mapper = LiveMapper(drive, extractor, config, "given", [source])
        for frame in bag.frames():
            mapper.add([LiveFrame(0, "camera", frame.image, frame.stamp_ns, frame.camera, frame.map_from_camera)])
        mapper.finish()


def _features(folder: Path) -> None:
    """Of all photos and matches of two, and of two photos: what may be gone on with."""
    (folder / "some").mkdir()
    for path in sorted((folder / "photos").iterdir())[:2]:
        shutil.copyfile(path, folder / "some" / path.name)
    _run(folder, "export-features", "photos", "features.h5")
    _run(folder, "export-features", "some", "some.h5")
    _run(folder, "match-features", "some.h5", "pairs.h5", "--retrieved", "1")


def _pool(folder: Path) -> None:
    (folder / "img").mkdir(parents=True)
    rows = ["file,source_repo,license,group,width,height"]
    for number in range(4):
        cv2.imwrite(str(folder / f"img/photo_{number}.png"), textured_image(200, 160, number))
        rows.append(f"img/photo_{number}.png,made here,CC0-1.0,group{number // 2},200,160")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "pairs.csv").write_text("a,b,group,f_inliers\nimg/photo_0.png,img/photo_1.png,group0,50\n")


def _run(folder: Path, *arguments: str) -> None:
    run = start(Command(arguments, ""), folder, folder)
    if run.wait():
        raise RuntimeError(f"{' '.join(arguments)} fails without any fault: {run.errors[-2000:]}")


class Run:
    """A command in a process of its own, forked from this one, which has imported everything already."""

    def __init__(self, process: int, log: Path) -> None:
        self.process, self._log = process, log
        self._code: int | None = None
        self._worked_s = 0.0

    def poll(self) -> int | None:
        """Its exit status, the negative signal that killed it, None while it runs."""
        if self._code is None:
            found, status, used = os.wait4(self.process, os.WNOHANG)
            if found:
                self._code, self._worked_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        return self._code

    def worked_s(self) -> float:
        """Time of the processor so far: how far it is, however busy the machine."""
        if self.poll() is None:
            after_name = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
            self._worked_s = sum(map(int, after_name[11:15])) / os.sysconf("SC_CLK_TCK")
        return self._worked_s

    def wait(self, timeout_s: float = 600.0) -> int | None:
        """As poll, after so long at most."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.poll()

    @property
    def errors(self) -> str:
        return self._log.read_text(errors="replace")


def start(command: Command, inputs: Path, out: Path, prepare: Callable[[], None] = lambda: None) -> Run:
    """Begin to run it. prepare: called in its process before: limits, another clock."""
    handle, name = tempfile.mkstemp(prefix="said-", suffix=".txt")
    process = os.fork()
    if process:
        os.close(handle)
        return Run(process, Path(name))
    code = 1
    try:
        os.setsid()
        os.chdir(inputs)
        os.dup2(handle, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["hfnet", *(word.replace("OUT", str(out)) for word in command.arguments)]
        prepare()
        code = _called(command)
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _called(command: Command) -> int:
    try:
        if command.script:
            with importlib.import_module("hfnet_core.cli.main").one_line_errors():
                runpy.run_path(sys.argv[1], run_name="__main__", init_globals=None)
        else:
            importlib.import_module("hfnet_core.cli.main").main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return 0


def content(path: Path) -> str:
    """A hash of a file or of all files of a folder with their names; "" where there is nothing."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    for file in files:
        digest.update(str(file.relative_to(path.parent)).encode() + file.read_bytes())
    return digest.hexdigest() if files else ""
