"""The page on trouble names everything that the code can say, and nothing that it cannot."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, first_column

from hfnet_core.localization.tracking.consistency import Belief
from hfnet_core.types import Reason

PAGE = Path("docs/trouble.md")
# Functions whose first argument is the name of a problem, and of a stage that is timed.
SAYING = {"problem", "note", "complain", "refuse", "_UnusableError"}
TIMING = {"lap", "end"}
NAMING = {"tag"}  # makes such a name of it, with the camera's


def calls(*folders: str) -> Iterator[tuple[str, ast.Call]]:
    """(name of what is called, call) in all files of some folders."""
    for path in (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


def literal(node: ast.expr | None) -> str:
    """A text, the beginning of an f-string, or nothing."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr) and node.values:
        return literal(node.values[0]).strip()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in NAMING and node.args:
            return literal(node.args[0])
        if node.func.attr == "rstrip":
            return literal(node.func.value)
    return ""


def problems() -> set[str]:
    said = (literal(call.args[0]) for name, call in calls("hfnet_ros") if name in SAYING and call.args)
    return {text.upper().replace(" ", "_") for text in said if text}


def stages() -> set[str]:
    """Names of laps, and keys of timings."""
    folders = ("hfnet_core/localization", "hfnet_ros")
    laps = {literal(call.args[0]) for name, call in calls(*folders) if name in TIMING and call.args}
    keys = set()
    for path in (ROOT / "hfnet_ros/node").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Dict) and any(literal(key) == "total" for key in node.keys):
                keys |= {literal(key) for key in node.keys}
    return (laps | keys) - {""}


def test_every_reason_is_explained() -> None:
    assert first_column(PAGE, "{ #reasons }") == [reason.name for reason in Reason]


def test_every_tracking_state_is_explained() -> None:
    assert set(first_column(PAGE, "## Tracking state")) == {"tracking state", *(b.name for b in Belief)}


def test_every_problem_is_explained() -> None:
    found = problems()
    assert {"PAUSED", "ODOMETRY", "CALIBRATION"} <= found, "the way problems are raised has changed: mend this test"
    assert set(first_column(PAGE, "{ #problems }")) == found


def test_every_stage_is_explained() -> None:
    found = stages()
    assert {"retrieval", "extraction", "total"} <= found, "the way stages are timed has changed: mend this test"
    assert set(first_column(PAGE, "{ #stages }")) == found


def test_every_value_is_explained() -> None:
    pytest.importorskip("diagnostic_msgs")
    import numpy as np

    from hfnet_core.geometry import Pose
    from hfnet_core.localization.tracking.consistency import Consistency
    from hfnet_core.types import Localized, Mode, NotLocalized
    from hfnet_ros.node.diagnostics import Health

    health = Health()
    said = {"latency … p50/p95 [ms]"}
    found = Localized(
        Pose(), np.eye(6), Mode.GLOBAL, 30, 40, np.zeros((0, 2), np.float32), np.zeros(0, np.int32), (), 0.5, 1.0
    )
    for result in (found, NotLocalized(Reason.AMBIGUOUS)):
        health.finished(result, {}, Consistency(Belief.TRACKING, 1.0))
        said |= {item.key for item in health.to_msg("node", "", 0).status[0].values}
    facts = {literal(call.args[0]) for name, call in calls("hfnet_ros") if name == "fact"} - {""}
    assert facts
    assert set(first_column(PAGE, "{ #values }")) == said | facts


def test_errors_are_quoted_as_they_are_said() -> None:
    said = {
        literal_with_gaps(text) for name, call in calls("hfnet_core") if name.endswith("Error") for text in call.args
    }
    quoted = first_column(PAGE, "## Building maps")
    assert quoted
    for text in quoted:
        assert any(text in message for message in said), f"no error says {text!r}"


def literal_with_gaps(node: ast.expr) -> str:
    """A text; an f-string with its values left out."""
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    return literal(node)
