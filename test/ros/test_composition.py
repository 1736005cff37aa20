"""Several localizers in one process: their own cameras, one map in memory."""

from __future__ import annotations

import gc
import uuid
import weakref

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed: pip install 'hfnet_ros[ros]'")

from rclpy.parameter import Parameter

from hfnet_core.errors import MapError
from hfnet_core.features.backend import open_backend
from hfnet_ros.localization_node import LocalizationNode
from hfnet_ros.map_component import shared_map


def test_two_cameras_share_the_map(ros, wall_world):
    model, map_file = wall_world
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
