"""The whole road in one command: render a place, map it, walk through it again, localize over real ROS topics.

`python -m hfnet_ros.demo --output demo_output`. Two renderings of the same courtyard on different days become two bags;
the first becomes a map; the second is played at camera rate to the node, and what the node says is judged as any client
would see it. Everything stays in the output folder.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import rclpy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hfnet_core.config import MapBuildConfig
from hfnet_core.errors import ConfigError, HFNetError
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.extractor import Extractor
from hfnet_core.geometry import Pose
from hfnet_core.mapping.builder import build_map
from hfnet_core.maps.storage import save_map
from hfnet_core.progress import ProgressLines
from hfnet_core.synthetic import walk
from hfnet_core.terminal import SafeConsole
from hfnet_core.threads import one_blas_thread
from hfnet_ros.evaluate import Playback, QueryBag, Run, report, run
from hfnet_ros.rclpy_typed import shut_down
from hfnet_ros.replay.processes import use_wheels

__all__ = ["KEYFRAME_DISTANCE_M", "DemoError", "bars", "busy", "check", "main", "prepare", "render_both", "run_demo"]

_LEAST_SHARE = 0.5  # of the images that show something and were not passed over for a newer one
_LEAST_POSES = 20  # however slow the machine
KEYFRAME_DISTANCE_M = 0.2  # in a yard of ten metres, more keyframes add time rather than accuracy
_OWN = (
    "map_pass",
    "query_pass",
    "courtyard.hfmap",
    "logs",
    "evaluation.json",
    "evaluation.png",
    "evaluation.html",
    "poses_tum.txt",
)
_MARK = ".hfnet_demo"  # in a folder that may be emptied
_DOMAINS = 100


class DemoError(HFNetError):
    """The demo ran, but its result is not good enough."""


@contextmanager
def bars(console: SafeConsole) -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars by name: show(name, done, total); lines where nobody's terminal would show bars."""
    if not console.is_terminal:
        with ProgressLines(lambda line: print(line, flush=True)) as lines:
            yield lines
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield show


@contextmanager
def busy(console: SafeConsole, text: str) -> Iterator[None]:
    """Says what is being done, once where there is no terminal."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        print(text, flush=True)
        yield


def _render(day: walk.Pass, output: Path, odometry: Sequence[Pose] | None, counter: Any, blind: Any) -> None:
    """In a process of its own."""
    cv2.setNumThreads(1)

    def count() -> None:
        with counter.get_lock():
            counter.value += 1

    blind.extend(walk.record(day, output, odometry=odometry, progress=count))


def render_both(
    folder: Path,
    show: Callable[[str, int, int], None],
    odometry: Callable[[walk.Pass], Sequence[Pose]] | None = None,
) -> list[int]:
    """Both passes at once, a process each. Returns the stamps of the query's blind images. odometry: odom_from_camera
    of each frame of a pass, None to record none."""
    context = multiprocessing.get_context("spawn")
    days = {"map_pass": walk.MAP_PASS, "query_pass": walk.QUERY_PASS}
    with context.Manager() as manager:
        counters = {name: context.Value("i", 0) for name in days}
        blind = {name: manager.list() for name in days}
        workers = [
            context.Process(
                target=_render,
                args=(day, folder / name, odometry and odometry(day), counters[name], blind[name]),
                daemon=True,
            )
            for name, day in days.items()
        ]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            time.sleep(0.2)
            for name, day in days.items():
                show(f"rendering {name}", counters[name].value, len(day.stamps_s))
        if any(worker.exitcode != 0 for worker in workers):
            raise DemoError(f"rendering failed with status {[worker.exitcode for worker in workers]}")
        return list(blind["query_pass"])


def _build(folder: Path, model: Path | None, show: Callable[[str, int, int], None]) -> Path:
    config = MapBuildConfig(keyframe_distance_m=KEYFRAME_DISTANCE_M)
    extractor = Extractor(open_backend(model, "onnxruntime"), config.extraction)
    built = build_map([folder / "map_pass"], extractor, config, progress=show)
    path = folder / "courtyard.hfmap"
    save_map(built, path)
    return path


def check(done: Run) -> None:
    """Raises DemoError when the result is not what a demo may end with."""
    result = done.score
    if result.published == 0:
        raise DemoError(f"no image was localized; the node's last word: {done.status.get('reason', 'none')}")
    if result.wrong:
        raise DemoError(f"{result.wrong} wrong poses were published; see evaluation.json")
    localized = result.published - result.blind_published
    seen = max(result.images - result.blind - done.dropped, 1)
    if localized < min(_LEAST_POSES, seen) or localized < _LEAST_SHARE * seen:
        raise DemoError(f"only {localized} of {seen} images that the node looked at were localized")


def prepare(folder: Path, names: Sequence[str] = _OWN) -> None:
    """An output folder without what an earlier demo left, by these names. Raises ConfigError when it cannot be made, or
    holds what no demo has made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not any((folder / name).exists() for name in (_MARK, "map_pass")):
            raise ConfigError(f"{folder}: is not empty, and no demo's: choose another --output")
        (folder / _MARK).touch()
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (folder / "logs").mkdir()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used for the demo's output ({error.strerror})") from error


def _demo(folder: Path, model: Path | None, rate_hz: float) -> None:
    console = SafeConsole()
    started_s = time.monotonic()
    prepare(folder)
    with bars(console) as show:
        blind = render_both(folder, show)
        rendered_s = time.monotonic()
        map_file = _build(folder, model, show)
    mapped_s = time.monotonic()
    query = QueryBag.read(folder / "query_pass")
    parameters = {"model_file": model.resolve()} if model is not None else {}
    seconds = len(query.images) / rate_hz
    with busy(console, f"playing {len(query.images)} images to the node at {rate_hz:g} Hz ({seconds:.0f} s)"):
        done = run(query, Playback(map_file, rate_hz, parameters, logs=folder / "logs"), blind=blind)
    title = "Courtyard, mapped on one day, localized on another"
    report(done, query, folder, title=title, map_file=map_file)
    print(f"map: {map_file}   bags: {folder / 'map_pass'}, {folder / 'query_pass'}")
    ended_s = time.monotonic()
    print(
        f"rendering {rendered_s - started_s:.0f} s, mapping {mapped_s - rendered_s:.0f} s, "
        f"playing and judging {ended_s - mapped_s:.0f} s: {ended_s - started_s:.0f} s in all"
    )
    check(done)


def run_demo(
    arguments: Sequence[str] | None, module: str, description: str, demo: Callable[[Path, Path | None, float], None]
) -> int:
    """A demo with its command line, given output folder, model and images per second; returns its exit status: 0 when
    it ended well, 2 with one line when not."""
    parser = argparse.ArgumentParser(f"python -m {module}", description=description)
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for everything")
    parser.add_argument("--model", type=Path, help="network (ONNX) in place of the one that ships")
    parser.add_argument("--rate", type=float, default=walk.QUERY_PASS.rate_hz, help="images per second played")
    given = parser.parse_args(arguments)
    if not given.rate > 0:
        parser.error(f"--rate {given.rate:g}: is not positive")
    use_wheels()
    one_blas_thread()
    # Nothing of the demo leaves this machine or disturbs other ROS nodes on it.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % _DOMAINS))
    rclpy.init(args=[])
    try:
        demo(given.output, given.model, given.rate)
    except HFNetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        shut_down()
    return 0


def main(args: Sequence[str] | None = None) -> int:
    """The demo; returns its exit status."""
    return run_demo(args, "hfnet_ros.demo", "Render, map, localize, judge.", _demo)


if __name__ == "__main__":
    sys.exit(main())
