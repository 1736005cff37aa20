"""Several localizers in one process: their own cameras, one map in memory."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
import weakref
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from geometry_msgs.msg import PoseStamped
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from robot import REPOSITORY, assert_at, image_msg, info_msg, until
from sensor_msgs.msg import CameraInfo, Image
from wall import view

from hfnet_core.errors import MapError
from hfnet_core.features.backends.opening import open_backend
from hfnet_ros.conversions import pose_from_msg
from hfnet_ros.localization_node import LocalizationNode
from hfnet_ros.node.map_component import shared_map


def test_two_cameras_share_the_map(ros, wall_world, tmp_path):
    model, shared = wall_world
    map_file = shutil.copy(shared, tmp_path)  # other tests' nodes may still hold theirs
    given = {"map_file": str(map_file), "model_file": str(model), "threads": 1}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    namespace = f"t{uuid.uuid4().hex[:8]}"
    nodes = [
        LocalizationNode(side, namespace=namespace, context=ros.context, parameter_overrides=overrides)
        for side in ("left", "right")
    ]
    try:
        for node in nodes:
            assert node.trigger_configure().name == "SUCCESS"
        first, second = (node.loaded_map for node in nodes)
        assert first is second
        kept = weakref.ref(first.landmark_map)
        del first, second
        nodes[0].trigger_cleanup()
        gc.collect()
        assert nodes[0].loaded_map is None
        assert kept() is not None
        nodes[1].trigger_cleanup()
        gc.collect()
        assert kept() is None
    finally:
        for node in nodes:
            node.destroy_node()


PROCESS = """
import sys
import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from hfnet_ros.localization_node import LocalizationNode

namespace, map_file, model = sys.argv[1:]
rclpy.init()
given = {"map_file": map_file, "model_file": model, "threads": 1, "autostart": True, "map_memory_mib": 0}
overrides = [Parameter(name, value=value) for name, value in given.items()]
executor = MultiThreadedExecutor(num_threads=3)
for side in ("left", "right"):
    executor.add_node(LocalizationNode(namespace=f"{namespace}/{side}", parameter_overrides=overrides))
executor.spin()
"""


def test_nodes_of_one_process_share_executor_and_map(ros, wall_world):
    """Two cameras, two nodes, one process: both localize at once, and the map is mapped into memory once."""
    model, map_file = wall_world
    namespace = f"/t{uuid.uuid4().hex[:8]}"
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", PROCESS, namespace, str(map_file), str(model)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"})
    made, poses = [], {}
    try:
        for shift, side in ((32, "left"), (128, "right")):
            images = ros.node.create_publisher(Image, f"{namespace}/{side}/image", qos_profile_sensor_data)
            infos = ros.node.create_publisher(CameraInfo, f"{namespace}/{side}/camera_info", qos_profile_sensor_data)
            topic, poses[shift] = f"{namespace}/{side}/localization/pose", []
            made.append(
                (images, infos, shift, ros.node.create_subscription(PoseStamped, topic, poses[shift].append, 10))
            )

        def show() -> bool:
            for images, infos, shift, _ in made:
                infos.publish(info_msg())
                images.publish(image_msg(view(shift), time.time_ns()))
            time.sleep(0.1)
            return all(len(found) >= 3 for found in poses.values())

        until(show, 30.0, "poses of both cameras")
        for shift, found in poses.items():
            assert_at(pose_from_msg(found[-1].pose), shift)
        mappings = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        assert len([line for line in mappings if map_file.name in line]) == 1
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        for images, infos, _, subscription in made:
            ros.node.destroy_publisher(images)
            ros.node.destroy_publisher(infos)
            ros.node.destroy_subscription(subscription)


def test_a_replaced_file_and_another_model_are_noticed(wall_world, tmp_path):
    model, map_file = wall_world
    backend = open_backend(model, threads=1)
    path = tmp_path / "copy.hfmap"
    path.write_bytes(map_file.read_bytes())
    first = shared_map(path, backend.info.model_hash)
    assert shared_map(path, backend.info.model_hash) is first
    replacement = tmp_path / "new"
    replacement.write_bytes(map_file.read_bytes())
    replacement.rename(path)
    assert shared_map(path, backend.info.model_hash) is not first
    with pytest.raises(MapError, match="model"):
        shared_map(path, "0" * 64)
    with pytest.raises(MapError, match=r"missing\.hfmap"):
        shared_map(tmp_path / "missing.hfmap", backend.info.model_hash)
    backend.close()
