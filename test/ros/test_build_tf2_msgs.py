from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from hfnet_ros import build_tf2_msgs


def test_does_nothing_when_it_is_there(capsys):
    pytest.importorskip("tf2_msgs", reason="tf2_msgs is not installed: python -m hfnet_ros.build_tf2_msgs")
    assert build_tf2_msgs.build() is False
    assert build_tf2_msgs.main() == 0
    assert "already there" in capsys.readouterr().out


def test_without_a_compiler_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert build_tf2_msgs.main() == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "build-essential" in error


def test_the_type_is_the_one_everybody_has():
    """rosbags knows the hash of the official definition."""
    from rosbags.typesys import Stores, get_typestore

    described = Path(sys.prefix) / "share/tf2_msgs/msg/TFMessage.json"
    if not described.exists():
        pytest.skip(f"{described}: tf2_msgs was not built here")
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(described.read_text())["type_hashes"]}
    expected = get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage")
    assert hashes["tf2_msgs/msg/TFMessage"] == expected
