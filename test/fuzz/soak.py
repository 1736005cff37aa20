"""A running node among strangers: `python test/fuzz/soak.py --minutes 30 --seed 0 [--attack load_map image ...]`.

A camera shows a place while random services, parameters, life-cycle transitions, maps and messages come
(`strangers.py`). Every half minute all of it is set right again, and the node must then localize as ever. Printed at
the end: whether the process lived, poses that were wrong, requests without an answer, memory over time. Exit status 1
if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from attacks import Maps
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
from processes import resident_bytes
from rcl_interfaces.msg import Parameter
from rclpy.parameter import Parameter as RclpyParameter
from robot import Client, Robot, image_msg, info_msg, stamp_of
from strangers import ANSWER_S, ATTACKS, Strangers
from wall import SHIFTS, map_from_camera, view, wall_files, wall_map

from hfnet_core.geometry import pose_error
from hfnet_core.maps.storage import save_map
from hfnet_ros.conversions import pose_from_msg
from hfnet_ros.parameters import ANYTIME, parameter_names

__all__ = ["Report", "Soak"]

ROUND_S = 25.0
RIGHT_M, RIGHT_DEG = 0.05, 1.0
FLAT_MB = 10.0
ENOUGH = 12
"""Samples of memory, to tell a slope from noise."""
HARMLESS = (ANYTIME - {"two_d_mode"}) | {"publish_map_cloud", "bond_heartbeat_period", "backend", "threads"}
"""Settings with which a pose must still be right."""
BASE = {"base_frame_id": "base", "base_from_camera": "0 0 0 0 0 0 1", "backend": "onnxruntime"}


@dataclass
class Report:
    """What happened. memory: (seconds from the start, resident MB), each time everything was right again."""

    shown: int = 0
    poses: int = 0
    trials: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unjudged: int = 0
    """Poses while settings were changed that decide what a pose means or how much it is trusted."""
    not_finite: int = 0
    unanswered: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    not_recovered: list[str] = field(default_factory=list)
    recoveries: int = 0
    tracebacks: Counter[str] = field(default_factory=Counter)
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        failed = self.wrong or self.not_finite or self.unanswered or self.restarts or self.not_recovered
        return not failed and self.growth_mb < FLAT_MB

    @property
    def growth_mb(self) -> float:
        """How much the memory grew over the last three quarters of the time; of a few samples nothing is said.

        By the median of the slopes between any two samples, which a high one here and there does not change.
        """
        kept = np.array(self.memory[len(self.memory) // 4 :])
        if len(kept) < ENOUGH:
            return 0.0
        one, other = np.triu_indices(len(kept), 1)
        slopes = (kept[other, 1] - kept[one, 1]) / (kept[other, 0] - kept[one, 0])
        return float(np.median(slopes) * (kept[-1, 0] - kept[0, 0]))

    def print(self) -> None:
        print(f"images shown {self.shown}, poses {self.poses} ({self.unjudged} under other settings), "
              f"wrong {len(self.wrong)}, not finite {self.not_finite}")  # fmt: skip
        print(f"attacks {sum(self.trials.values())}: {dict(self.trials.most_common())}")
        print(f"alive: {not self.restarts}, restarts {len(self.restarts)}, set right {self.recoveries} times, "
              f"not {len(self.not_recovered)}, requests without an answer {len(self.unanswered)}")  # fmt: skip
        for what in (*self.wrong[:20], *self.restarts, *self.not_recovered, *self.unanswered[:20]):
            print(f"    {what}")
        for trace, times in self.tracebacks.most_common(20):
            print(f"    in the log {times} times: {trace}")
        memory_mb = [mb for _, mb in self.memory]
        quarters = [float(np.median(part)) for part in np.array_split(memory_mb, 4) if len(part)]
        said = " ".join(f"{mb:.0f}" for mb in quarters)
        print(f"memory by quarters of the time: {said} MB, most {max(memory_mb, default=0.0):.0f}, "
              f"growth over the last three {self.growth_mb:+.1f} MB (flat: less than {FLAT_MB:.0f})")  # fmt: skip
        print(f"    each time it was set right: {' '.join(f'{mb:.0f}' for mb in memory_mb)}")


class Soak:
    """One node, its camera and its enemies."""

    def __init__(self, client: Client, folder: Path, seed: int, attacks: Sequence[str] = ()) -> None:
        """attacks: the only ones; none for all of them, half at a time."""
        self.client, self.rng, self.report, self.begun_s = client, random.Random(seed), Report(), time.monotonic()
        self._attacks = list(attacks)
        self.model, right = wall_files(folder)
        other = folder / "other.hfmap"
        save_map(wall_map(self.model, seed=1), other)
        self.maps = Maps(folder, right, other)
        self._expected: dict[int, int] = {}  # stamp -> shift; images of no place are not in it
        self._start()
        self._running = True
        self._camera = threading.Thread(target=self._show, daemon=True)
        self._camera.start()

    def run(self, seconds: float, round_s: float = ROUND_S) -> Report:
        """Attack for so long, setting things right after every round."""
        self.set_right()
        while time.monotonic() < self.begun_s + seconds:
            end, deeds = time.monotonic() + round_s, self._attacks or self.strangers.some(self.rng)
            while time.monotonic() < end and self.robot.process.poll() is None:
                self.report.trials[self.strangers.act(self.rng, deeds)] += 1
                self._judge()
            self.set_right()
        self._running = False
        self._camera.join()
        self._end()
        return self.report

    # ---- the node

    def _start(self) -> None:
        given: dict[str, Any] = {"map_file": str(self.maps.right), "model_file": str(self.model), **BASE}
        self.robot = Robot(self.client, given)
        self.strangers = Strangers(self.robot, self.maps)
        self._lines = 0
        values = {name: item.default for name, _, item in parameter_names() if name != "autostart"}
        values["use_sim_time"] = False
        self._settings = [_message(name, value) for name, value in (values | given | {"threads": 1}).items()]

    def _end(self) -> None:
        self.report.unanswered += self.strangers.unanswered
        self.strangers.close()
        self.robot.close()

    def _restart(self, why: str) -> None:
        last = "".join(self.robot._lines[-15:])
        self.report.restarts.append(f"{self._time()}: {why}; last words: {last[-1500:]!r}")
        self._end()
        self._start()
        self.set_right()

    def _time(self) -> str:
        return f"{time.monotonic() - self.begun_s:.0f} s"

    def _resident_mb(self) -> float:
        return resident_bytes(self.robot.process.pid) / 1e6

    # ---- the camera

    def _show(self) -> None:
        """There and back along the wall, ten times a second, each image with its calibration."""
        way = [*range(SHIFTS[0], SHIFTS[-1] + 1, 8)]
        way += way[-2:0:-1]
        images = {shift: view(shift) for shift in way}
        while self._running:
            robot, shift = self.robot, way[self.report.shown % len(way)]
            stamp_ns = robot.stamp()
            self._expected[stamp_ns] = shift
            try:
                robot.infos.publish(info_msg())
                robot.images.publish(image_msg(images[shift], stamp_ns))
            except Exception as error:  # its publishers went with a node that was restarted
                print(f"not shown: {error}", file=sys.stderr)
            self.report.shown += 1
            time.sleep(0.1)

    def _judge(self) -> None:
        """Poses that came since the last time, and what the log says of unexpected errors."""
        received, self.robot.with_covariance[:] = list(self.robot.with_covariance), []
        self.robot.poses.clear()
        changed = self.strangers.changed
        for message in received:
            self.report.poses += 1
            pose = pose_from_msg(message.pose.pose)
            self.report.not_finite += not np.isfinite(message.pose.covariance).all()
            if not changed <= HARMLESS:
                self.report.unjudged += 1
                continue
            shift = self._expected.get(stamp_of(message))
            metres, degrees = (np.inf, 0.0) if shift is None else pose_error(pose, map_from_camera(shift))
            if metres > RIGHT_M or degrees > RIGHT_DEG:
                what = f"{metres:.2f} m, {degrees:.1f} deg, shift {shift}, settings {sorted(changed)}"
                self.report.wrong.append(f"{self._time()}: {what}")
        self._read_log()

    def _read_log(self) -> None:
        lines = self.robot._lines
        for index in range(self._lines, len(lines)):
            if lines[index].startswith("Traceback"):
                after = next((line for line in lines[index + 1 :] if line[:1] not in (" ", "")), "")
                self.report.tracebacks[after.strip()[:200]] += 1
        self._lines = len(lines)

    # ---- setting it right

    def set_right(self) -> None:
        """Settings, state and map as at the start; then an image must be localized."""
        begun = time.monotonic()
        while time.monotonic() < begun + 2 * ANSWER_S:
            if self.robot.process.poll() is not None:
                return self._restart(f"the process ended with {self.robot.process.poll()}")
            if self._is_set_right():
                self.report.recoveries += 1
                self.report.memory.append((time.monotonic() - self.begun_s, self._resident_mb()))
                return None
        self.report.not_recovered.append(f"{self._time()}: {self.robot.said()!r}")
        return self._restart("it did not recover")

    def _is_set_right(self) -> bool:
        by = self.strangers
        answer = by.ask(GetState, "get_state", GetState.Request())
        if answer is None:
            return False
        if answer.current_state.label == "active":
            by.change(Transition.TRANSITION_DEACTIVATE)
        if answer.current_state.label != "unconfigured":
            by.change(Transition.TRANSITION_CLEANUP)
        answer = by.set(self._settings)
        if answer is None or not all(result.successful for result in answer.results):
            return False
        if not by.change(Transition.TRANSITION_CONFIGURE) or not by.change(Transition.TRANSITION_ACTIVATE):
            return False
        self._judge()  # what was on its way
        by.changed.clear()
        before, deadline = self.report.poses, time.monotonic() + ANSWER_S
        while time.monotonic() < deadline and self.robot.process.poll() is None:
            self._judge()
            if self.report.poses > before:
                return True
            time.sleep(0.1)
        return False


def _message(name: str, value: Any) -> Parameter:
    return RclpyParameter(name, value=list(value) if isinstance(value, tuple) else value).to_parameter_msg()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attack", nargs="*", choices=sorted(ATTACKS), default=[], help="the only ones")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        client = Client()
        try:
            report = Soak(client, Path(name), given.seed, given.attack).run(60.0 * given.minutes)
        finally:
            client.close()
    report.print()
    sys.exit(0 if report.is_good else 1)


if __name__ == "__main__":
    main()
