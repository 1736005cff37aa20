"""Engines over their life on the real runtime: cached, shared, refused, pipelined, and gone without a trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.errors import BackendError
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.device import Device
from hfnet_core.features.backends.tensorrt.fallback import FallbackBackend

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[2]


def image(seed: int, height: int = 480, width: int = 640) -> np.ndarray:
    return textured_image(width, height, seed).astype(np.float32)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def test_a_second_start_loads_in_under_a_second(settings: Any) -> None:
    TensorRTBackend(DEFAULT_MODEL, settings()).build(480, 640)
    started = time.monotonic()
    backend = TensorRTBackend(DEFAULT_MODEL, settings())
    assert backend.load_cached(480, 640)
    assert time.monotonic() - started < 1.0
    backend.close()


def test_two_processes_build_once(settings: Any, tmp_path: Path) -> None:
    config = asdict(settings(cache_dir=str(tmp_path / "engines")))
    request = json.dumps({"model": str(tiny_model(tmp_path)), "size": [48, 64], "config": config, "extraction": {}})
    command = [sys.executable, "-m", "hfnet_core.features.backends.tensorrt.build_process", request]
    children = [subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [child.communicate(timeout=1500)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    assert "".join(errors).count("engine built in") == 1, errors


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_engines_are_built_again(settings: Any, tmp_path: Path, damage: str) -> None:
    backend = TensorRTBackend(tiny_model(tmp_path), settings(cache_dir=str(tmp_path / "engines")))
    backend.build(16, 24)
    path = next((tmp_path / "engines").glob("*.engine"))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage == "flip" else content[: len(content) // 2])
    assert not backend.load_cached(16, 24)
    assert backend.infer(image(0, 16, 24)).scores.shape == (16, 24)
    backend.close()


def test_two_images_in_flight_and_many_threads(settings: Any) -> None:
    backend = TensorRTBackend(DEFAULT_MODEL, settings(precision="fp16"))
    images = [image(seed) for seed in range(6)]
    expected = [backend.infer(one) for one in images]
    waiting = backend.submit(images[0])
    for index in range(1, 6):
        following = backend.submit(images[index])
        np.testing.assert_array_equal(waiting.result().scores, expected[index - 1].scores)
        waiting = following
    waiting.result()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: backend.infer(one).scores, images * 10))
    for index, scores in enumerate(found):
        np.testing.assert_array_equal(scores, expected[index % 6].scores)
    backend.close()


def test_waiting_leaves_python_to_other_threads(settings: Any) -> None:
    backend = TensorRTBackend(DEFAULT_MODEL, settings())
    backend.infer(image(0))
    done, counted = threading.Event(), [0]

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=count)
    thread.start()
    for _ in range(50):
        backend.infer(image(0))
    done.set()
    thread.join()
    assert counted[0] > 1000
    backend.close()


def test_memory_comes_back(settings: Any, device: Device) -> None:
    def once() -> None:
        backend = TensorRTBackend(DEFAULT_MODEL, settings())
        backend.infer(image(0))
        backend.close()

    def free() -> int:
        with device.active():
            return int(device.cuda.mem_get_info()[0])

    once()
    before = free()
    for _ in range(5):
        once()
    assert before - free() < 16 << 20


def test_auto_uses_the_gpu_and_survives_without_memory(settings: Any, device: Device) -> None:
    TensorRTBackend(DEFAULT_MODEL, settings()).build(480, 640)
    backend = open_backend(None, "auto", engine=settings())
    assert isinstance(backend, FallbackBackend)
    with device.active():
        taken = [device.cuda.mem_alloc(max(device.cuda.mem_get_info()[0] - (8 << 20), 1))]
    try:
        assert backend.infer(image(0)).scores.shape == (480, 640)
        assert backend.degraded_reason is not None
    finally:
        with device.active():
            taken.pop().free()
    backend.close()
    again = open_backend(None, "auto", engine=settings())
    assert isinstance(again, FallbackBackend)
    again.infer(image(0))
    assert again.degraded_reason is None
    again.close()


def test_a_process_that_forgets_to_close_ends_cleanly(settings: Any) -> None:
    config = asdict(settings())
    code = (
        "import numpy as np\nfrom hfnet_core.config import EngineConfig\n"
        "from hfnet_core.features.backends.opening import DEFAULT_MODEL\n"
        "from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend\n"
        f"backend = TensorRTBackend(DEFAULT_MODEL, EngineConfig(**{config!r}))\n"
        "backend.infer(np.zeros((480, 640), np.float32))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False, timeout=1500
    )
    assert done.returncode == 0, done.stderr
    assert "context stack was not empty" not in done.stderr
    assert "clean-up operation failed" not in done.stderr


def test_after_close_nothing_runs(settings: Any) -> None:
    backend = TensorRTBackend(DEFAULT_MODEL, settings())
    backend.infer(image(0))
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.infer(image(0))
