"""TensorRTBackend over the stand-in runtime: building, precision, buffers, threads, and everything that goes wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers import random_variables, textured_image, tiny_model

from hfnet_core.config import EngineConfig
from hfnet_core.errors import BackendError, ModelError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import DEFAULT_MODEL, open_backend
from hfnet_core.features.backends.tensorrt import cuda_graph
from hfnet_core.features.backends.tensorrt import engine as engine_module
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.checking import agreement, probe_images
from hfnet_core.features.backends.tensorrt.device import GpuError, open_device
from hfnet_core.features.engine_tools.quantization import activation_ranges, quantize
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec
from hfnet_core.features.network.onnx_graph import build_onnx, save_onnx

VERSIONS = ["8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106"]
ROOT = Path(__file__).parents[3]


# Enough clusters and dimensions that rounding to FP16 costs random weights no more than trained ones.
SPEC = NetworkSpec(local_dim=16, global_dim=256, clusters=8, corner_aligned=False)


def small_model(tmp_path: Path, seed: int = 0) -> Path:
    return tiny_model(tmp_path, seed, SPEC)


def gray(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)


@pytest.mark.parametrize("gpu", VERSIONS, indirect=True)
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 0.9999), ("fp16", 0.999)])
def test_outputs_are_those_of_onnx_runtime(gpu: Any, tmp_path: Path, precision: str, limit: float) -> None:
    """In every TensorRT, and on the blank and feature-poor images that gave others NaN."""
    model = small_model(tmp_path)
    backend, reference = TensorRTBackend(model, EngineConfig(precision=precision)), OnnxRuntimeBackend(model)
    for image in [*probe_images(40, 56), gray(40, 56, seed=5)]:
        outputs, expected = backend.infer(image), reference.infer(image)
        found = agreement(outputs, expected)
        assert min(found.local_cosine, found.global_cosine) >= limit
        exact = np.array_equal(outputs.descriptors, expected.descriptors)
        assert not (exact and precision == "fp16" and image.std() > 0), "nothing ran below FP32"
    assert gpu.trt.builds == 1
    assert precision in backend.description and gpu.trt.__version__ in backend.description


@pytest.mark.parametrize("gpu", ["8.6.1"], indirect=True)
def test_weakly_typed_engines_need_the_constraints_and_get_them(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A head that is silent on blank images: NaN when norms run in FP16, as users of the released graph report it."""
    variables = random_variables(SPEC)
    variables["local_head/descriptor/Conv/BatchNorm/beta"] -= 100
    variables["local_head/descriptor/Conv_1/biases"][:] = 1e-5  # its square is zero in FP16
    model = tmp_path / "silent.onnx"
    save_onnx(build_onnx(variables, SPEC, name="s", version="0", licence="x", subpixel=True), model)
    assert np.isfinite(TensorRTBackend(model).infer(np.zeros((16, 16), np.float32)).descriptors).all()
    assert "not accurate enough" not in caplog.text
    monkeypatch.setattr(gpu.trt.IBuilderConfig, "set_flag", _forgets_constraints(gpu.trt))
    assert TensorRTBackend(model).build(16, 24)["precision"] == "fp32"  # what the check after building makes of it
    assert "descriptors is not finite" in caplog.text


def _forgets_constraints(trt: Any) -> Callable[[Any, Any], None]:
    def set_flag(config: Any, flag: Any) -> None:
        if flag != trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS:
            config.flags_set.add(flag)

    return set_flag


@pytest.mark.parametrize("gpu", VERSIONS, indirect=True)
def test_building(gpu: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend = TensorRTBackend(small_model(tmp_path))
    seen: list[tuple[str, int, int]] = []

    def progress(phase: str, done: int, steps: int) -> bool:
        seen.append((phase, done, steps))
        return True

    facts = backend.build(48, 64, progress)
    assert "building a TensorRT engine for 64x48 in fp16" in caplog.text
    assert facts["precision"] == "fp16"
    assert "lowest cosine" in facts["agreement"]
    assert seen == ([] if gpu.trt.__version__ == "8.6.1" else [("Building", n, 3) for n in (1, 2, 3)])
    assert not backend.is_loaded(48, 64)
    assert backend.build(48, 64) == facts
    assert gpu.trt.builds == 1
    assert {path.suffix for path in gpu.folder.iterdir()} == {".engine", ".json", ".lock", ".cache"}


def test_building_can_be_stopped(gpu: Any, tmp_path: Path) -> None:
    backend = TensorRTBackend(small_model(tmp_path))
    with pytest.raises(BackendError, match="was stopped"):
        backend.build(48, 64, lambda *_: False)
    assert not list(gpu.folder.glob("*.engine"))


def test_a_second_start_loads_quickly_and_builds_nothing(gpu: Any, tmp_path: Path) -> None:
    model = small_model(tmp_path)
    first = TensorRTBackend(model)
    expected = first.infer(gray())
    first.close()
    started = time.monotonic()
    second = TensorRTBackend(model)
    assert second.load_cached(48, 64)
    assert time.monotonic() - started < 1.0
    np.testing.assert_array_equal(second.infer(gray()).scores, expected.scores)
    assert gpu.trt.builds == 1


CHANGES: dict[str, Callable[[Any, pytest.MonkeyPatch], None]] = {
    "gpu": lambda gpu, patch: patch.setattr(gpu.driver, "gpu_name", "Another GPU"),
    "compute_capability": lambda gpu, patch: patch.setattr(gpu.driver, "capability", (9, 0)),
    "cuda": lambda gpu, patch: patch.setattr(gpu.driver, "driver_version", 13000),
    "tensorrt": lambda gpu, patch: patch.setattr(gpu.trt, "__version__", "10.4.0"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_machine_builds_again_and_says_why(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    from hfnet_core.features.backends.tensorrt.device import release_devices

    model = small_model(tmp_path)
    TensorRTBackend(model).build(48, 64)
    release_devices()
    CHANGES[change](gpu, monkeypatch)
    TensorRTBackend(model).build(48, 64)
    assert gpu.trt.builds == 2
    assert f"the nearest differs in {change} " in caplog.text


def test_models_precisions_and_sizes_have_engines_of_their_own(gpu: Any, tmp_path: Path) -> None:
    model = small_model(tmp_path)
    TensorRTBackend(model).build(48, 64)
    TensorRTBackend(small_model(tmp_path, seed=1)).build(48, 64)
    TensorRTBackend(model, EngineConfig(precision="fp32")).build(48, 64)
    TensorRTBackend(model).build(64, 48)
    renamed = onnx.load(model)  # same weights, same hash, another graph
    renamed.graph.name = "changed"
    save_onnx(renamed, tmp_path / "changed.onnx")
    TensorRTBackend(tmp_path / "changed.onnx").build(48, 64)
    assert gpu.trt.builds == 5


def test_an_engine_that_tensorrt_refuses_is_built_again(
    gpu: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sound file of ours that the runtime does not take, as after an update that kept the version."""
    model = small_model(tmp_path)
    backend = TensorRTBackend(model)
    backend.build(48, 64)
    cached = backend.cache.get(backend.key(48, 64))
    assert cached is not None
    backend.cache._write(cached.key, b"standin-plan of another kind", cached.facts)
    assert backend.infer(gray()).scores.shape == (48, 64)
    assert "TensorRT refused the engine: Magic tag does not match" in caplog.text
    assert gpu.trt.builds == 2


def test_an_engine_of_another_network_is_refused(gpu: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = TensorRTBackend(small_model(tmp_path)), TensorRTBackend(small_model(tmp_path, seed=1))
    first.build(64, 48)
    swapped = first.cache.get(first.key(64, 48))
    assert swapped is not None
    second.cache._write(second.key(48, 64), swapped.plan, {})
    assert not second.load_cached(48, 64)
    assert "the engine's tensors are" in caplog.text


def test_wrong_numbers_are_never_used(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu.trt, "wrong_by", 0.5)
    with pytest.raises(GpuError, match="computes other values than ONNX Runtime"):
        TensorRTBackend(small_model(tmp_path)).build(48, 64)
    assert "the fp16 engine is not accurate enough" in caplog.text
    assert gpu.trt.builds == 2  # FP16, then FP32
    assert not list(gpu.folder.glob("*.engine"))


def test_fp16_that_is_too_coarse_becomes_fp32(
    gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu.trt, "wrong_by", 0.5)
    monkeypatch.setattr(gpu.trt, "_spoiled", _only_if_half(gpu.trt._spoiled))
    backend = TensorRTBackend(small_model(tmp_path))
    facts = backend.build(48, 64)
    assert facts["precision"] == "fp32"
    assert "the fp16 engine is not accurate enough" in caplog.text
    assert backend.build(48, 64)["precision"] == "fp32"
    assert gpu.trt.builds == 2


def _only_if_half(spoil: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def is_half(node: onnx.NodeProto) -> bool:
        return node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16

    return lambda graph: spoil(graph) if any(map(is_half, graph.graph.node)) else graph


@pytest.mark.parametrize("gpu", ["8.6.1", "10.3.0", "11.4.0.106"], indirect=True)
def test_a_quantized_model_runs(gpu: Any, tmp_path: Path) -> None:
    images = [textured_image(64, 48, seed).astype(np.float32) for seed in range(3)]
    model = onnx.load(DEFAULT_MODEL)
    save_onnx(quantize(model, activation_ranges(model, images)), tmp_path / "int8.onnx")
    backend, original = TensorRTBackend(tmp_path / "int8.onnx"), OnnxRuntimeBackend(DEFAULT_MODEL)
    found = agreement(backend.infer(images[0]), original.infer(images[0]))
    assert 0.9 < found.global_cosine < 0.9999999
    assert backend.info.model_hash == original.info.model_hash


class TestBuffers:
    def test_two_images_in_flight(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The second uploads while the first is computed; neither sees the other's pixels."""
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(precision="fp32"))
        images = [gray(seed=seed) for seed in range(6)]
        expected = [backend.infer(image) for image in images]
        monkeypatch.setattr(gpu.driver, "delay_s", 0.005)
        waiting = backend.submit(images[0])
        for index in range(1, 6):
            following = backend.submit(images[index])
            np.testing.assert_array_equal(waiting.result().scores, expected[index - 1].scores)
            waiting = following
        np.testing.assert_array_equal(waiting.result().descriptors, expected[5].descriptors)

    def test_uploads_overlap_computing(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = TensorRTBackend(small_model(tmp_path))
        backend.infer(gray())
        engine = backend._engine(48, 64)
        assert engine._upload.handle != engine._compute.handle
        hold = threading.Event()
        engine._compute.enqueue(lambda: hold.wait(10) and None)  # the GPU is busy with an image
        ticket = backend.submit(gray(seed=1))
        second = backend.submit(gray(seed=2))
        ends = time.monotonic() + 10
        copies = [gpu.driver._memory[int(slot.device["image"])] for slot in engine._slots]
        arrived = [gray(seed=seed).tobytes() for seed in (1, 2)]
        while sorted(map(bytes, copies)) != sorted(arrived) and time.monotonic() < ends:
            time.sleep(0.01)
        assert sorted(map(bytes, copies)) == sorted(arrived)
        hold.set()
        ticket.result()
        second.result()

    def test_results_stay_as_they_are(self, gpu: Any, tmp_path: Path) -> None:
        backend = TensorRTBackend(small_model(tmp_path))
        first = backend.infer(gray())
        kept = first.scores.copy()
        for seed in range(4):
            backend.infer(gray(seed=seed))
        np.testing.assert_array_equal(first.scores, kept)
        backend.close()
        np.testing.assert_array_equal(first.scores, kept)

    def test_a_third_image_waits_for_a_result(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "_WAIT_S", 0.1)
        backend = TensorRTBackend(small_model(tmp_path))
        tickets = [backend.submit(gray()), backend.submit(gray())]
        with pytest.raises(BackendError, match="all 2 buffers of the engine are in use"):
            backend.submit(gray())
        for ticket in tickets:
            ticket.result()
        with pytest.raises(BackendError, match="already taken"):
            tickets[0].result()

    def test_dropped_tickets_do_not_leak(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(precision="fp32"))
        expected = backend.infer(gray())
        monkeypatch.setattr(gpu.driver, "delay_s", 0.002)
        for seed in range(1, 6):
            backend.submit(gray(seed=seed))
        np.testing.assert_array_equal(backend.infer(gray()).scores, expected.scores)

    def test_closing_waits_for_images_in_flight(
        self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(precision="fp32"))
        expected = backend.infer(gray())
        monkeypatch.setattr(gpu.driver, "delay_s", 0.02)
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(backend.infer, gray()) for _ in range(2)]
            time.sleep(0.03)
            backend.close()
            for future in running:
                error = future.exception()
                assert error is None or "closed" in str(error)
                if error is None:
                    np.testing.assert_array_equal(future.result().scores, expected.scores)
        assert gpu.driver.allocated_bytes() == 0
        with pytest.raises(BackendError, match="closed"):
            backend.submit(gray())

    def test_many_sizes_keep_a_bounded_number_of_engines(self, gpu: Any, tmp_path: Path) -> None:
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(max_engines=2))
        one = (16, 24)
        backend.infer(gray(*one))
        alone = gpu.driver.allocated_bytes()
        for size in ((16, 32), (24, 16), (32, 16), one):
            assert backend.infer(gray(*size)).scores.shape == size
        assert [backend.is_loaded(*size) for size in ((24, 16), (32, 16), one)] == [False, True, True]
        assert gpu.driver.allocated_bytes() < 4 * alone
        assert gpu.trt.builds == 4

    def test_threads_with_more_sizes_than_engines(self, gpu: Any, tmp_path: Path) -> None:
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(max_engines=1, precision="fp32"))
        images = [gray(16, 24 + 8 * (seed % 3), seed) for seed in range(3)]
        expected = [backend.infer(image).scores for image in images]
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda image: backend.infer(image).scores, images * 8))
        for index, scores in enumerate(found):
            np.testing.assert_array_equal(scores, expected[index % 3])

    def test_several_engines_in_a_process(self, gpu: Any, tmp_path: Path) -> None:
        first, second = TensorRTBackend(small_model(tmp_path)), TensorRTBackend(small_model(tmp_path, seed=1))
        a, b = first.infer(gray()), second.infer(gray())
        assert np.abs(a.scores - b.scores).max() > 1e-3
        first.close()
        np.testing.assert_array_equal(second.infer(gray()).scores, b.scores)


class TestContext:
    def test_every_thread_leaves_its_stack_empty(self, gpu: Any, tmp_path: Path) -> None:
        backend = TensorRTBackend(small_model(tmp_path))

        def work(seed: int) -> int:
            backend.infer(gray(seed=seed))
            return int(gpu.driver.contexts_here())

        with ThreadPoolExecutor(3) as pool:
            assert set(pool.map(work, range(9))) == {0}
        gpu.driver.faults["memcpy_htod_async"] = gpu.driver.LaunchError("cuMemcpyHtoDAsync failed: unspecified")
        with pytest.raises(GpuError):
            backend.infer(gray())
        assert gpu.driver.contexts_here() == 0

    def test_engines_still_open_are_closed_before_the_context_goes(self, tmp_path: Path) -> None:
        """At the end of a process that never called close: no abort, no complaint, status 0."""
        model = small_model(tmp_path)
        code = (
            "import sys, numpy as np\nfrom pathlib import Path\n"
            "from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend\n"
            f"backend = TensorRTBackend(Path({str(model)!r}))\n"
            "backend.infer(np.zeros((16, 16), np.float32))\n"
            "import atexit, pycuda.driver as driver\n"
            "from hfnet_core.features.backends.tensorrt import device\n"
            "atexit.unregister(device.release_devices); device.release_devices()\n"
            "print(driver.allocated_bytes(), driver.pinned_arrays(), driver.contexts_here())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=child_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["0", "0", "0"]


def child_environment(tmp_path: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(__file__).parent / "tensorrt_standin"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


FAULTS: dict[str, Callable[[Any], None]] = {
    "out of memory": lambda gpu: setattr(gpu.driver, "memory_limit", 100),
    "pinned memory": lambda gpu: gpu.driver.faults.update(cuMemHostAlloc=gpu.driver.MemoryError("out of memory")),
    "no context memory": lambda gpu: setattr(gpu.trt, "context_fails", True),
    "execution": lambda gpu: setattr(gpu.trt, "run_fails", True),
    "lost context": lambda gpu: gpu.driver.faults.update(
        push=gpu.driver.LogicError("cuCtxPushCurrent failed: context is destroyed")
    ),
}


class TestFailures:
    @pytest.fixture(autouse=True)
    def _healed(self, gpu: Any) -> Any:
        yield
        gpu.driver.memory_limit, gpu.trt.context_fails, gpu.trt.run_fails = 1 << 30, False, False

    @pytest.mark.parametrize("fault", [name for name in FAULTS if name != "lost context"])
    def test_opening_fails_in_one_line_and_leaves_nothing(self, gpu: Any, tmp_path: Path, fault: str) -> None:
        backend = TensorRTBackend(small_model(tmp_path))
        backend.build(48, 64)
        FAULTS[fault](gpu)
        with pytest.raises(GpuError) as caught:
            backend.infer(gray())
        assert "\n" not in str(caught.value)
        gpu.driver.faults.clear()
        assert (gpu.driver.allocated_bytes(), gpu.driver.pinned_arrays()) == (0, 0)

    def test_a_lost_context_is_a_gpu_error(self, gpu: Any, tmp_path: Path) -> None:
        backend = TensorRTBackend(small_model(tmp_path))
        backend.infer(gray())
        FAULTS["lost context"](gpu)
        with pytest.raises(GpuError, match="context is destroyed"):
            backend.infer(gray())
        with pytest.raises(GpuError, match="context is destroyed"):
            backend.close()
        gpu.driver._memory.clear()  # gone with the context
        gpu.driver._host.clear()

    def test_tensorrt_cannot_build(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu.trt, "build_fails", "OutOfMemory\n  while timing")
        with pytest.raises(GpuError, match=r"could not build an engine of 64x48: OutOfMemory while timing$"):
            TensorRTBackend(small_model(tmp_path)).infer(gray())

    def test_the_parser_refuses(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu.trt, "_REFUSED", {"Softmax"})
        with pytest.raises(ModelError, match="cannot read the graph: No importer registered for op: Softmax"):
            TensorRTBackend(small_model(tmp_path)).infer(gray())

    def test_no_gpu(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu.driver, "gpus", 0)
        with pytest.raises(GpuError, match="there is no GPU 0; 0 found"):
            TensorRTBackend(small_model(tmp_path))

    def test_no_driver(self, gpu: Any, tmp_path: Path) -> None:
        gpu.driver.faults["init"] = gpu.driver.RuntimeError("cuInit failed: no CUDA-capable device is detected")
        with pytest.raises(GpuError, match=r"no usable NVIDIA GPU .*no CUDA-capable device"):
            TensorRTBackend(small_model(tmp_path))

    def test_an_old_tensorrt(self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(gpu.trt.ICudaEngine, "num_io_tensors")
        with pytest.raises(GpuError, match=r"10\.3\.0 is too old"):
            TensorRTBackend(small_model(tmp_path))

    def test_missing_model(self, gpu: Any, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no such model file"):
            TensorRTBackend(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["tensorrt", "pycuda.driver"])
def test_missing_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gpu: Any) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        GpuError, match=f"Python package {name.split('.', maxsplit=1)[0]} (is not installed|cannot be loaded).*README"
    ):
        open_backend(small_model(tmp_path), "tensorrt")


class FakeDriver:
    """What cuda_graph.py calls in libcuda: status 0, and recording instead of running while a capture is open."""

    def __init__(self, fail: str = "") -> None:
        self.calls: list[str] = []
        self.fail = fail

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*_: object) -> int:
            self.calls.append(name)
            return 900 if name == self.fail else 0

        return call


class TestCudaGraph:
    def test_recorded_once_per_buffer_and_replayed(
        self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = FakeDriver()
        monkeypatch.setattr(cuda_graph, "_driver", lambda: driver)
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(cuda_graph=True))
        for _ in range(3):
            backend.infer(gray())
        backend.close()
        counts = {name: driver.calls.count(name) for name in set(driver.calls)}
        assert counts == {
            "cuStreamBeginCapture_v2": 2,
            "cuStreamEndCapture": 2,
            "cuGraphInstantiateWithFlags": 2,
            "cuGraphLaunch": 3,
            "cuGraphExecDestroy": 2,
            "cuGraphDestroy": 2,
        }

    def test_a_failed_recording_is_named_and_leaves_nothing(
        self, gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        driver = FakeDriver("cuGraphInstantiateWithFlags")
        monkeypatch.setattr(cuda_graph, "_driver", lambda: driver)
        backend = TensorRTBackend(small_model(tmp_path), EngineConfig(cuda_graph=True))
        with pytest.raises(GpuError, match="cuGraphInstantiateWithFlags failed with CUDA error 900; run without"):
            backend.infer(gray())
        assert driver.calls.count("cuStreamEndCapture") == driver.calls.count("cuStreamBeginCapture_v2")


def test_two_processes_build_once(tmp_path: Path) -> None:
    """Two nodes that start together, as real processes over the stand-in."""
    journal = tmp_path / "journal"
    environment = {**child_environment(tmp_path), "HFNET_STANDIN_JOURNAL": str(journal), "HFNET_STANDIN_BUILD_S": "1"}
    request = json.dumps({"model": str(small_model(tmp_path)), "size": [16, 24], "config": {}, "extraction": {}})
    command = [sys.executable, "-m", "hfnet_core.features.backends.tensorrt.build_process", request]
    children = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    assert len(journal.read_text().split()) == 1
    assert "waiting for it" in "".join(errors)


def test_features_come_out_of_the_extractor(gpu: Any, tmp_path: Path) -> None:
    model = small_model(tmp_path)
    image = textured_image(70, 50)
    ours = Extractor(open_backend(model, "tensorrt", engine=EngineConfig(precision="fp32"))).extract(image)
    theirs = Extractor(open_backend(model, "onnxruntime")).extract(image)
    np.testing.assert_allclose(ours.keypoints_px, theirs.keypoints_px, atol=1e-3)
    np.testing.assert_allclose(ours.descriptors, theirs.descriptors, atol=1e-4)


def test_warnings_of_tensorrt_reach_the_log(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    device = open_device(0)
    with caplog.at_level(logging.DEBUG):
        for severity in gpu.trt.ILogger.Severity:
            device.logger.log(severity, f"it said {severity.name}")
    levels = {record.message.split()[-1]: record.levelname for record in caplog.records}
    assert levels == {
        "INTERNAL_ERROR": "ERROR",
        "ERROR": "ERROR",
        "WARNING": "INFO",
        "INFO": "DEBUG",
        "VERBOSE": "DEBUG",
    }
    assert device.latest_error("") == "it said ERROR"
