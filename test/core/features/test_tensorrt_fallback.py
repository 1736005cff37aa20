"""Backend auto: TensorRT where it works, the CPU otherwise, and never a node that goes down."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import textured_image, tiny_model

from hfnet_core.cli.main import main
from hfnet_core.config import EngineConfig, ExtractorConfig, MapBuildConfig
from hfnet_core.errors import BackendError
from hfnet_core.features.backends.onnxruntime_backend import OnnxRuntimeBackend
from hfnet_core.features.backends.opening import open_backend
from hfnet_core.features.backends.protocol import DenseOutputs, SelectedOutputs
from hfnet_core.features.backends.tensorrt import fallback as module
from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend
from hfnet_core.features.backends.tensorrt.fallback import FallbackBackend
from hfnet_core.features.extractor import Extractor
from hfnet_core.features.network.architecture import NetworkSpec

SPEC = NetworkSpec(local_dim=16, global_dim=256, clusters=8, corner_aligned=False)
ROOT = Path(__file__).parents[3]


def gray(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model; processes started from here find the stand-in too."""
    standin = Path(__file__).parent / "tensorrt_standin"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(standin), str(ROOT)]))
    return tiny_model(tmp_path, spec=SPEC)


def opened(model: Path, **settings: Any) -> FallbackBackend:
    backend = open_backend(model, "auto", engine=EngineConfig(precision="fp32", **settings))
    assert isinstance(backend, FallbackBackend)
    return backend


def with_engine(model: Path, height: int = 48, width: int = 64) -> None:
    TensorRTBackend(model, EngineConfig(precision="fp32")).build(height, width)


def used_gpu(gpu: Any, work: Callable[[], Any]) -> bool:
    before = gpu.driver.contexts_pushed
    work()
    return bool(gpu.driver.contexts_pushed > before)


def test_without_tensorrt_it_is_onnx_runtime_and_says_why(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with caplog.at_level(logging.INFO):
        backend = open_backend(model, "auto", threads=1)
    assert isinstance(backend, OnnxRuntimeBackend)
    assert backend.description.startswith("ONNX Runtime ")
    message = caplog.messages[-1]
    assert "the network runs on ONNX Runtime" in message
    assert "Python package tensorrt is not installed" in message or "cannot be loaded" in message


def test_with_tensorrt_it_says_so(gpu: Any, model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        backend = opened(model)
    assert "runs on TensorRT 10.3.0 fp32 on Stand-in GPU, with ONNX Runtime" in caplog.text
    assert backend.description == "TensorRT 10.3.0 fp32 on Stand-in GPU"
    assert backend.degraded_reason is None


def test_onnxruntime_stays_onnxruntime(gpu: Any, model: Path) -> None:
    assert not used_gpu(gpu, lambda: open_backend(model, "onnxruntime").infer(gray()))


def test_an_engine_in_the_cache_is_used_from_the_first_image(gpu: Any, model: Path) -> None:
    with_engine(model)
    backend = opened(model)
    assert used_gpu(gpu, lambda: backend.infer(gray()))
    assert backend.degraded_reason is None
    assert gpu.trt.builds == 1


def test_keypoints_come_from_the_gpu_and_after_a_failure_from_the_cpu(gpu: Any, model: Path) -> None:
    with_engine(model)
    backend, config, image = opened(model), ExtractorConfig(), textured_image(64, 48)
    assert isinstance(backend.detect(gray(), config), SelectedOutputs)
    extractor = Extractor(backend, config)
    first = extractor.extract(image)
    gpu.driver.faults["memcpy_dtod_async"] = gpu.driver.LaunchError("illegal memory access")
    second = extractor.extract(image)
    assert "illegal memory access" in (backend.degraded_reason or "")
    assert isinstance(backend.detect(gray(), config), DenseOutputs)
    gpu.driver.faults.clear()
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
    assert first.dense is not None and second.dense is not None
    places = np.array([[3.0, 4.0], [50.0, 30.5]], np.float32)
    np.testing.assert_allclose(first.dense.sample(places), second.dense.sample(places), atol=1e-4)


def test_engines_are_built_for_the_limits_of_the_node(gpu: Any, model: Path) -> None:
    wanted = ExtractorConfig(max_keypoints=77, nms_radius_px=3)
    TensorRTBackend(model, EngineConfig(precision="fp32"), wanted).build(48, 64)
    backend = open_backend(model, "auto", engine=EngineConfig(precision="fp32"), extraction=wanted)
    found = backend.detect(gray(), wanted)
    assert isinstance(found, SelectedOutputs)
    assert len(found.keypoints) <= 77
    assert gpu.trt.builds == 1


def test_single_images_build_nothing(gpu: Any, model: Path) -> None:
    backend = opened(model)
    for width in range(16, 96, 8):
        assert backend.infer(gray(16, width)).scores.shape == (16, width)
    assert not used_gpu(gpu, lambda: backend.infer(gray(16, 16)))
    assert backend.degraded_reason is None
    assert not list(gpu.folder.glob("*.engine"))


def test_a_stream_gets_an_engine_while_the_cpu_answers(gpu: Any, model: Path) -> None:
    """Built by a process of its own, then used without a gap."""
    backend = opened(model, build_after_images=3)
    expected = OnnxRuntimeBackend(model).infer(gray()).scores
    for _ in range(3):
        assert not used_gpu(gpu, lambda: np.testing.assert_array_equal(backend.infer(gray()).scores, expected))
    assert backend.degraded_reason == "an engine for 64x48 is being built; the CPU runs the network meanwhile"
    ends = time.monotonic() + 60
    while backend.degraded_reason is not None and time.monotonic() < ends:
        backend.infer(gray())
        time.sleep(0.05)
    assert backend.degraded_reason is None
    assert used_gpu(gpu, lambda: np.testing.assert_allclose(backend.infer(gray()).scores, expected, atol=1e-5))
    assert gpu.trt.builds == 0  # here


def test_never_building_on_its_own(gpu: Any, model: Path) -> None:
    backend = opened(model, build_after_images=0)
    for _ in range(20):
        assert not used_gpu(gpu, lambda: backend.infer(gray()))
    assert backend.degraded_reason == (
        "no TensorRT engine for 64x48: none is built here; `hfnet engine build --size 64x48` makes it"
    )
    assert not list(gpu.folder.glob("*.engine"))


class FailedBuild:
    """An EngineBuild that ended without an engine."""

    def __init__(self, backend: Any, height: int, width: int) -> None:
        self.text: str | None = "TensorRT could not build an engine of 64x48: out of memory"

    def finished(self) -> bool:
        return True

    def problem(self) -> str | None:
        return self.text

    def stop(self) -> None:
        raise AssertionError("it ended long ago")


def test_a_size_that_cannot_be_built_stays_on_the_cpu(
    gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_engine(model, 16, 16)
    monkeypatch.setattr(module, "EngineBuild", FailedBuild)
    backend = opened(model, build_after_images=1)
    for _ in range(3):
        backend.infer(gray())
    assert backend.degraded_reason == (
        "no TensorRT engine for 64x48: TensorRT could not build an engine of 64x48: out of memory"
    )
    assert caplog.text.count("the CPU runs the network") == 1
    assert used_gpu(gpu, lambda: backend.infer(gray(16, 16))), "other sizes go on"


def test_an_engine_that_vanishes_after_building(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class EmptyBuild(FailedBuild):
        def problem(self) -> str | None:
            return None

    monkeypatch.setattr(module, "EngineBuild", EmptyBuild)
    backend = opened(model, build_after_images=1)
    for _ in range(3):
        backend.infer(gray())
    assert backend.degraded_reason == "no TensorRT engine for 64x48: the engine that was built cannot be used"


def test_the_building_process_reports_why(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TensorRTBackend(model)
    monkeypatch.setenv("HFNET_STANDIN_TENSORRT", "8.6.1")
    build = module.EngineBuild(backend, 47, 64)
    assert build.problem() == "engine size 64x47: both sides must be positive multiples of 8"
    killed = module.EngineBuild(backend, 48, 64)
    os.kill(killed._process.pid, signal.SIGKILL)
    assert killed.problem() == "the building process ended with status -9"


def test_closing_stops_the_building_process(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFNET_STANDIN_BUILD_S", "60")
    monkeypatch.setenv("HFNET_STANDIN_JOURNAL", str(model.with_name("journal")))
    backend = opened(model, build_after_images=1)
    backend.infer(gray())
    build = backend._build
    assert build is not None
    started = time.monotonic()
    backend.close()
    assert time.monotonic() - started < 10
    assert build._process.returncode is not None
    with pytest.raises(BackendError, match="closed"):
        backend.infer(gray())


FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "lost context": (
        lambda gpu: gpu.driver.faults.update(push=gpu.driver.LogicError("context is destroyed")),
        "context is destroyed",
    ),
    "copy": (
        lambda gpu: gpu.driver.faults.update(memcpy_htod_async=gpu.driver.LaunchError("illegal memory access")),
        "illegal memory access",
    ),
    "waiting": (
        lambda gpu: gpu.driver.faults.update(cuEventSynchronize=gpu.driver.LaunchError("launch timed out")),
        "launch timed out",
    ),
    "leaving": (
        lambda gpu: gpu.driver.faults.update(pop=gpu.driver.LaunchError("an earlier launch failed")),
        "lost its context: an earlier launch failed",
    ),
    "execution": (lambda gpu: setattr(gpu.trt, "run_fails", True), "did not run"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_gpu_that_fails_hands_over_to_the_cpu(
    gpu: Any, model: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The very image on which it fails is answered, and every one after it."""
    with_engine(model)
    backend = opened(model)
    expected = backend.infer(gray()).scores
    fail, reason = FAULTS[fault]
    fail(gpu)
    for _ in range(3):
        np.testing.assert_allclose(backend.infer(gray()).scores, expected, atol=1e-5)
    assert reason in str(backend.degraded_reason)
    assert "\n" not in str(backend.degraded_reason)
    assert backend.description.startswith("ONNX Runtime ") and " on the CPU, " in backend.description
    assert reason in backend.description
    assert caplog.text.count("the GPU is given up") == 1
    assert not used_gpu(gpu, lambda: backend.infer(gray()))
    assert gpu.driver.contexts_here() == 0, "pycuda would abort when this thread ends"
    backend.close()
    gpu.trt.run_fails = False
    gpu.driver._memory.clear()  # what a lost context takes with it
    gpu.driver._host.clear()


def test_what_nobody_expected_hands_over_too_and_leaves_its_traceback(
    gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_engine(model)
    backend = opened(model)
    expected = backend.infer(gray()).scores

    def changed(*_: object) -> None:
        raise TypeError("set_tensor_address(): incompatible function arguments")

    monkeypatch.setattr(gpu.trt.IExecutionContext, "set_tensor_address", changed)
    np.testing.assert_allclose(backend.infer(gray()).scores, expected, atol=1e-5)
    assert backend.degraded_reason == "TypeError: set_tensor_address(): incompatible function arguments"
    assert "Traceback" in caplog.text


def test_a_broken_installation_costs_only_the_gpu(
    gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(gpu.trt, "ILogger")
    with caplog.at_level(logging.INFO):
        assert isinstance(open_backend(model, "auto"), OnnxRuntimeBackend)
    assert "TensorRT: AttributeError" in caplog.text


def test_out_of_memory_while_loading(gpu: Any, model: Path) -> None:
    with_engine(model)
    backend = opened(model)
    gpu.driver.memory_limit = 1000
    try:
        assert backend.infer(gray()).scores.shape == (48, 64)
        assert "no TensorRT engine for 64x48: GPU Stand-in GPU out of memory" in str(backend.degraded_reason)
    finally:
        gpu.driver.memory_limit = 1 << 30


def test_values_that_are_not_finite_on_the_gpu_alone(gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_engine(model)
    backend = opened(model)
    monkeypatch.setattr(gpu.driver, "memcpy_htod_async", lambda dest, src, stream: src.fill(np.nan) or _copy(dest, src))

    def _copy(dest: Any, src: Any) -> None:
        gpu.driver._memory[int(dest)][:] = memoryview(src).cast("B")

    assert np.isfinite(backend.infer(gray()).scores).all()
    assert "not finite" in str(backend.degraded_reason)


def test_a_bad_image_is_not_the_gpus_fault(gpu: Any, model: Path) -> None:
    with_engine(model)
    backend = opened(model)
    image = gray()
    image[0, 0] = np.nan
    with pytest.raises(BackendError, match="not finite"):
        backend.infer(image)
    with pytest.raises(BackendError, match="multiples of 8"):
        backend.infer(gray(47, 64))
    assert backend.degraded_reason is None
    assert used_gpu(gpu, lambda: backend.infer(gray()))


def test_an_engine_is_built_as_the_node_that_uses_it_chooses_keypoints(
    gpu: Any, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["hfnet", "engine", "build", "--size", "64x48", "--model", str(model), "--keypoints", "2000"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code, capsys.readouterr()
    fp16 = EngineConfig(build_after_images=0)
    for extraction, found in ((MapBuildConfig().extraction, True), (ExtractorConfig(), False)):
        detect = partial(open_backend(model, "auto", engine=fp16, extraction=extraction).detect, gray(), extraction)
        assert used_gpu(gpu, detect) is found
