"""`hfnet engine build|info|bench|tune|quantize`: what runs the network, before it is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hfnet_core.cli.progress import progress_bars
from hfnet_core.config import EngineConfig, ExtractorConfig, from_mapping
from hfnet_core.errors import BackendError, ConfigError
from hfnet_core.features.backends.opening import DEFAULT_MODEL
from hfnet_core.files import home_path
from hfnet_core.terminal import SafeConsole

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="TensorRT engines: build once per camera size, list, measure.")

_DEFAULTS = EngineConfig()
_Size = Annotated[
    list[str], typer.Option("--size", metavar="WxH", help="Image size as the network sees it, in pixels.")
]
_Model = Annotated[Path, typer.Option(help="Network (ONNX); default: the shipped one.")]
_Folder = Annotated[str, typer.Option(help="Folder of built engines; default: ~/.cache/hfnet_ros/engines.")]
_Device = Annotated[int, typer.Option(help="Number of the GPU.")]


@app.command()
def build(
    size: _Size,
    model: _Model = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(help="fp16 or fp32.")] = _DEFAULTS.precision,
    cache_dir: _Folder = _DEFAULTS.cache_dir,
    device: _Device = _DEFAULTS.device,
    workspace_mib: Annotated[int, typer.Option(help="Most GPU memory used to build.")] = _DEFAULTS.workspace_mib,
    keypoints: Annotated[
        int, typer.Option(help="As max_keypoints of the node that uses it; a mapping node has 2000.")
    ] = ExtractorConfig.max_keypoints,
    nms_radius: Annotated[
        int, typer.Option(help="As extractor.nms_radius_px of that node.")
    ] = ExtractorConfig.nms_radius_px,
) -> None:
    """Build engines now, so that no image has to wait for one. Built ones are kept and checked, not built again."""
    from hfnet_core.features.backends.tensorrt.backend import TensorRTBackend

    sizes = [_parsed(text) for text in size]
    values = {"precision": precision, "cache_dir": cache_dir, "device": device, "workspace_mib": workspace_mib}
    extraction = from_mapping(ExtractorConfig, {"max_keypoints": keypoints, "nms_radius_px": nms_radius})
    backend = TensorRTBackend(model, from_mapping(EngineConfig, values), extraction)
    try:
        for height, width in sizes:
            with progress_bars() as show:
                facts = backend.build(height, width, lambda phase, done, steps: show(phase, done, steps) or True)
            key = backend.key(height, width)
            typer.echo(f"{width}x{height}: {backend.description}, built in {facts['build_s']} s; {facts['agreement']}")
            typer.echo(f"  {backend.cache.folder / (key.name + '.engine')}")
    finally:
        backend.close()


@app.command()
def info(cache_dir: _Folder = _DEFAULTS.cache_dir, device: _Device = _DEFAULTS.device) -> None:
    """Is there a GPU that TensorRT can use, and which engines are there?"""
    from hfnet_core.features.backends.tensorrt.building.cache import EngineCache, default_folder
    from hfnet_core.features.backends.tensorrt.device import open_device

    try:
        gpu = open_device(device)
        major, minor = gpu.compute_capability
        typer.echo(
            f"TensorRT {gpu.trt.__version__} on {gpu.name}, compute capability {major}.{minor}, "
            f"CUDA driver {gpu.cuda.get_driver_version()}"
        )
    except BackendError as error:
        typer.echo(f"TensorRT cannot be used: {error}")
    folder = home_path(cache_dir) if cache_dir else default_folder()
    if not folder.exists():
        typer.echo(f"no engines: {folder} does not exist")
        return
    table = Table("size", "precision", "model", "GPU", "TensorRT", "CUDA", "built in s", title=str(folder))
    for key, facts in EngineCache(folder).entries():
        gpu_name = f"{key.gpu} ({key.compute_capability})"
        precision, seconds = facts.get("precision", key.precision), str(facts.get("build_s", "?"))
        size = f"{key.width}x{key.height}"
        table.add_row(size, precision, key.model_hash[:12], gpu_name, key.tensorrt, key.cuda, seconds)
    SafeConsole().print(table)


@app.command()
def bench(
    size: _Size,
    model: _Model = DEFAULT_MODEL,
    repeats: Annotated[int, typer.Option(help="Images measured per row.", min=1)] = 200,
    cache_dir: _Folder = _DEFAULTS.cache_dir,
    device: _Device = _DEFAULTS.device,
) -> None:
    """Latency from image to features, beside ONNX Runtime and the chip's floor. Builds what is not built yet."""
    from hfnet_core.features.engine_tools.bench import HEADER
    from hfnet_core.features.engine_tools.bench import bench as measure

    config = from_mapping(EngineConfig, {"cache_dir": cache_dir, "device": device})
    for height, width in map(_parsed, size):
        table = Table(*HEADER, title=f"{width}x{height}, ms")
        console = SafeConsole()
        try:
            for row in measure(model, height, width, config, repeats):
                table.add_row(*row.cells)
        finally:
            console.print(table)


@app.command()
def tune(
    model: _Model = DEFAULT_MODEL,
    size: Annotated[str, typer.Option(metavar="WxH", help="Image size to measure at.")] = "640x480",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for one per core.", min=0)] = 0,
    precision: Annotated[str, typer.Option(help="fp32 allows nothing coarser.")] = _DEFAULTS.precision,
    cache_dir: _Folder = _DEFAULTS.cache_dir,
) -> None:
    """Measure the runtimes of this processor; backend auto takes the fastest whose features are as good."""
    from hfnet_core.features.backends.tuning import BOUNDS, measure, sample_images
    from hfnet_core.features.backends.verdicts import keep

    config = from_mapping(EngineConfig, {"cache_dir": cache_dir, "precision": precision})
    rows = measure(model, sample_images(*_parsed(size)), config, threads)
    best = keep(rows, model, config, threads)
    table = Table("runtime", "ms", "ratio", "keypoints shared", "local cosine", "global cosine", "", title=size)
    for row in rows:
        if row.likeness is None:
            table.add_row(row.description, "", "", "", "", "", row.problem)
            continue
        ratio, like = row.milliseconds / rows[0].milliseconds, row.likeness
        verdict = "taken" if row is best else "" if row.is_good else "too different"
        likeness = (f"{like.keypoints:.3f}", f"{like.local_cosine:.4f}", f"{like.global_cosine:.4f}")
        table.add_row(row.description, f"{row.milliseconds:.1f}", f"{ratio:.2f}", *likeness, verdict)
    SafeConsole().print(table)
    bounds = f"{BOUNDS.keypoints:.2f}, {BOUNDS.local_cosine:.3f}, {BOUNDS.global_cosine:.2f}"
    typer.echo(f"kept for backend auto: {best.description} (bounds: {bounds})")


@app.command()
def quantize(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="Recording of the place; its images set the scales.")],
    output: Annotated[Path, typer.Option(help="Model to write; use it like any other.")],
    model: _Model = DEFAULT_MODEL,
    images: Annotated[int, typer.Option(help="Images that set scales, spread over the recording.", min=4)] = 64,
    image_topic: Annotated[str | None, typer.Option(help="Image topic of the bag, if it has several.")] = None,
) -> None:
    """Make an INT8 copy of a model from the images of a bag, and say how much it differs."""
    from hfnet_core.features.engine_tools.calibration_images import quantized_by_bag

    report = quantized_by_bag(model, bag, output, images, image_topic)
    typer.echo(f"{output}: quantized by {report.images} images; on {report.tested} others: {report}")


def _parsed(text: str) -> tuple[int, int]:
    """(height, width) of "WxH"."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if match is None:
        raise ConfigError(f"size: {text!r} is not of the form WxH, for example 640x480")
    width, height = int(match[1]), int(match[2])
    return height - height % 8, width - width % 8
