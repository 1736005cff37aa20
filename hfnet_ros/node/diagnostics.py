"""Results, timings and problems -> DiagnosticArray and log."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from enum import IntEnum
from threading import Lock

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode

from hfnet_core.errors import printable
from hfnet_core.geometry import Array, Pose
from hfnet_core.localization.tracking.consistency import Consistency
from hfnet_core.types import Localization, Localized
from hfnet_ros.conversions import stamp_from_ns
from hfnet_ros.rclpy_typed import LATCHED, Log, now_ns

__all__ = ["Health", "Level", "Rate", "Reporter", "Whereabouts"]

_WINDOW = 200  # images over which latencies are summarised
_LOG_S = 5.0  # the same complaint is logged at most this often; diagnostics have it all the time
_RATE_WINDOW_S = 5.0
_WITHOUT_S = 5.0  # so long without a pose that the next one is news


class Level(IntEnum):
    """Of a DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


class Rate:
    """Events per second of the computer's time, over the last seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.total = 0

    def tick(self) -> None:
        self.total += 1
        self._times.append(time.monotonic())
        self._trim()

    def per_second(self) -> float:
        self._trim()
        if len(self._times) < 2:
            return 0.0
        return (len(self._times) - 1) / max(time.monotonic() - self._times[0], 1e-3)

    def _trim(self) -> None:
        now_s = time.monotonic()
        while self._times and self._times[0] < now_s - _RATE_WINDOW_S:
            self._times.popleft()


class Health:
    """What the node knows about itself. Every method may be called from any thread.

    Problems have a name and stand until they are cleared under that name; the worst one decides the level.
    """

    COUNTED: tuple[str, ...] = ("dropped", "refused", "localized", "not localized")
    """What becomes of images."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._problems: dict[str, tuple[Level, str]] = {}
        self._facts: dict[str, str] = {}
        self._state = "unconfigured"
        self.restart()

    def restart(self) -> None:
        """Forget results and counts (at every activation); problems of configuration stay."""
        with self._lock:
            self._received, self._processed, self._published = Rate(), Rate(), Rate()
            self._counts = dict.fromkeys(self.COUNTED, 0)
            self._stages: dict[str, deque[float]] = {}
            self._result: Localization | None = None
            self._consistency = Consistency()
            self._problems = {name: value for name, value in self._problems.items() if name == "configuration"}

    def state(self, name: str) -> None:
        """The lifecycle state, as diagnostics show it."""
        with self._lock:
            self._state = name

    @property
    def lifecycle_state(self) -> str:
        with self._lock:
            return self._state

    def fact(self, name: str, value: object) -> None:
        """Something that stays true until it is set again or `forget_facts`: hashes, backend, map."""
        with self._lock:
            self._facts[name] = printable(str(value))

    def forget_facts(self) -> None:
        """Model and map are gone."""
        with self._lock:
            self._facts.clear()

    def problem(self, name: str, text: str, level: Level = Level.ERROR) -> bool:
        """Raise a problem; True when it is new or says something else than before."""
        with self._lock:
            text = printable(text)
            new = self._problems.get(name) != (level, text)
            self._problems[name] = (level, text)
            return new

    def clear(self, name: str) -> None:
        with self._lock:
            self._problems.pop(name, None)

    def received(self) -> None:
        with self._lock:
            self._received.tick()

    def count(self, name: str, images: int = 1) -> None:
        """Images that were `dropped` (a newer one came, or paused) or `refused` (they cannot be used)."""
        with self._lock:
            self._counts[name] += images

    def finished(
        self, result: Localization, timings_s: Mapping[str, float], consistency: Consistency | None = None
    ) -> None:
        """An image went through all stages."""
        with self._lock:
            self._result, self._consistency = result, consistency or Consistency()
            self._processed.tick()
            localized = isinstance(result, Localized)
            self._counts["localized" if localized else "not localized"] += 1
            for stage, seconds in timings_s.items():
                self._stages.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def took(self, stage: str, seconds: float) -> None:
        """A stage of an image."""
        with self._lock:
            self._stages.setdefault(stage, deque(maxlen=_WINDOW)).append(seconds)

    def forget_result(self) -> None:
        """The last result is of the past: nothing is known now."""
        with self._lock:
            self._result, self._consistency = None, Consistency()

    def published(self) -> None:
        with self._lock:
            self._published.tick()

    def summary(self) -> tuple[Level, str, str]:
        """(level, message, what a change of which is news)."""
        with self._lock:
            return self._summary()

    def _summary(self) -> tuple[Level, str, str]:
        level, texts, kind = Level.OK, [], self._state
        if self._problems:
            level = max(problem[0] for problem in self._problems.values())
            texts = [text for own, text in sorted(self._problems.values(), key=lambda problem: -problem[0])]
            kind += ",".join(sorted(self._problems))
        if self._state == "active" and self._result is not None:
            if isinstance(self._result, Localized):
                texts = texts or [f"localized ({self._result.mode.value})"]
                kind += "localized"
            else:
                level = max(level, Level.WARN)
                texts.append(f"not localized: {self._result}")
                kind += self._result.reason.name
        elif not texts:
            texts = [self._usual()]
        return level, "; ".join(texts), f"{level}{kind}"

    def _usual(self) -> str:
        """What to say while nothing is wrong and no image has a result."""
        return "waiting for images" if self._state == "active" else self._state

    def to_msg(self, name: str, hardware_id: str, stamp_ns: int) -> DiagnosticArray:
        with self._lock:
            level, message, _ = self._summary()
            values = {"state": self._state, **self._result_values(), **self._traffic_values(), **self._latencies()}
            values.update(self._facts)
        status = DiagnosticStatus(
            level=bytes([level]), name=name, message=printable(message), hardware_id=printable(hardware_id)
        )
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = stamp_from_ns(stamp_ns)
        return array

    def _result_values(self) -> dict[str, str]:
        result = self._result
        if result is None:
            code = max(self._problems, key=lambda name: self._problems[name][0], default="no image")
            reason_code = code.upper().replace(" ", "_")
            return {"localized": "false", "reason": "no image that can be used", "reason code": reason_code}
        ratio = result.inliers / max(result.matches, 1)
        values = self._consistency_values() | {
            "inliers": str(result.inliers),
            "matches": str(result.matches),
            "inlier ratio": f"{ratio:.3f}",
            "confidence": f"{result.confidence:.4f}",
        }
        if not isinstance(result, Localized):
            return {"localized": "false", "reason": str(result), "reason code": result.reason.name, **values}
        sigma = np.sqrt(np.clip(np.diag(result.covariance), 0.0, None))
        return {
            "localized": "true",
            "reason": "",
            "mode": result.mode.value,
            **values,
            "coverage": f"{result.coverage:.2f}",
            "reprojection [px]": f"{result.reprojection_px:.2f}",
            "position sigma [m]": f"{np.linalg.norm(sigma[:3]):.4f}",
            "orientation sigma [deg]": f"{np.degrees(np.linalg.norm(sigma[3:])):.3f}",
        }

    def _consistency_values(self) -> dict[str, str]:
        known = self._consistency
        distance = "" if known.distance is None else f"{known.distance:.2f}"
        return {
            "tracking state": known.belief.name,
            "distance from prediction [sigma]": distance,
            "images agreeing elsewhere": str(known.agreeing),
        }

    def _traffic_values(self) -> dict[str, str]:
        rates = {"images in": self._received, "images processed": self._processed, "poses out": self._published}
        values = {f"{name} [Hz]": f"{rate.per_second():.1f}" for name, rate in rates.items()}
        values["images received"] = str(self._received.total)
        values |= {f"images {name}": str(count) for name, count in self._counts.items()}
        return values

    def _latencies(self) -> dict[str, str]:
        """50th and 95th percentile by stage."""
        return {
            f"latency {stage} p50/p95 [ms]": "{:.1f}/{:.1f}".format(*(1e3 * np.percentile(times, [50, 95])))
            for stage, times in self._stages.items()
        }


class Whereabouts:
    """What the log says of poses: the first since somebody listens, and the first after some seconds without any."""

    def __init__(self, log: Log) -> None:
        self._log, self._last_s = log, -math.inf

    def heard(self, map_from_rig: Pose, covariance: Array, map_frame: str) -> None:
        """Of a pose that was published."""
        now_s = time.monotonic()
        without_s, self._last_s = now_s - self._last_s, now_s
        if without_s < _WITHOUT_S:
            return
        when = "first pose" if math.isinf(without_s) else f"a pose again, after {without_s:.0f} s without"
        x, y, z = map_from_rig.translation
        sigma_m = math.sqrt(max(np.trace(covariance[:3, :3]), 0.0))
        self._log.info(f"{when}: x {x:.2f} y {y:.2f} z {z:.2f} m in {map_frame}, known to {sigma_m:.2f} m")


class Reporter:
    """Says what `health` knows: problems in the log when they come, everything on /diagnostics, and readiness.

    Readiness is on the latched topic ~/status, for scripts that wait before they send images: its message begins with
    the state of the life cycle, and its value `ready` is `true` once no image can be lost to discovery any more.
    """

    def __init__(self, node: LifecycleNode, health: Health) -> None:
        self._node, self.health, self.log = node, health, Log.of(node)
        self.hardware_id = ""
        """The frame of the camera, or of the base with several."""
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._status = node.create_publisher(DiagnosticStatus, "~/status", LATCHED)
        self._news, self._reported_s, self._readiness = "", 0.0, ("", "")

    def complain(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        """Raise a problem, in the log as well."""
        if self.health.problem(name, text, level):
            self.log.warning(text, _LOG_S, name)

    def note(self, name: str, trouble: str | None) -> None:
        """Warn of trouble, or that there is none any more."""
        if trouble:
            self.complain(name, trouble, Level.WARN)
        else:
            self.health.clear(name)

    def refuse(self, name: str, text: str, level: Level = Level.ERROR) -> None:
        """An image cannot be used."""
        self.health.count("refused")
        if level >= Level.ERROR:  # what was known is of the past
            self.health.forget_result()
        self.complain(name, text, level)

    def news(self) -> None:
        """Diagnostics at once when something changed."""
        news = self.health.summary()[2]
        if news != self._news:
            self._news = news
            self.publish()

    @property
    def is_ready(self) -> bool:
        """Whether readiness was told last."""
        return self._readiness == ("active", "")

    def ready(self, unheard: Sequence[str]) -> None:
        """Tell the state, and which topics of an active node have no publisher that it knows of; when that changed."""
        readiness = self.health.lifecycle_state, " ".join(unheard)
        if readiness == self._readiness:
            return
        self._readiness = readiness
        state, missing = readiness
        waits = f"{state}: waiting for a publisher of {missing}" if missing else state
        ready = str(state == "active" and not missing).lower()
        status = DiagnosticStatus(level=bytes([Level.OK]), name=self._name, message=waits)
        status.values = [KeyValue(key="state", value=state), KeyValue(key="ready", value=ready)]
        self._status.publish(status)

    @property
    def _name(self) -> str:
        return str(self._node.get_fully_qualified_name()).lstrip("/")

    def is_due(self, period_s: float) -> bool:
        """Whether the last diagnostics are this old, by the computer's time: it is this that they tell of."""
        return time.monotonic() - self._reported_s >= period_s

    def publish(self) -> None:
        self._reported_s = time.monotonic()
        self._publisher.publish(self.health.to_msg(self._name, self.hardware_id, now_ns(self._node)))
