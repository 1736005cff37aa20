"""Settings of the network and what is read from it."""

from __future__ import annotations

from dataclasses import dataclass

from hfnet_core.config.settings import Checked, setting

__all__ = ["BACKENDS", "EngineConfig", "ExtractorConfig"]

BACKENDS = ("auto", "onnxruntime", "openvino", "tensorrt")  # what runs the network; see features/backends/opening.py


@dataclass(frozen=True)
class ExtractorConfig(Checked):
    """From image to features."""

    max_keypoints: int = setting(1000, "strongest keypoints kept per image", minimum=1, maximum=20000)
    detection_threshold: float = setting(0.005, "lowest keypoint probability", minimum=0.0, maximum=1.0)
    nms_radius_px: int = setting(4, "radius of non-maximum suppression", unit="px", minimum=0, maximum=32)
    max_side_px: int = setting(
        1600, "images with a longer side are reduced to it, as in maps; 0 keeps the size", unit="px", minimum=0
    )
    subpixel: bool = setting(True, "refine keypoints below the pixel (ignored by models that must reproduce integers)")


@dataclass(frozen=True)
class EngineConfig(Checked):
    """The network on an NVIDIA GPU through TensorRT; with OpenVINO, `precision` and `max_engines` count as well."""

    precision: str = setting(
        "fp16",
        "arithmetic of the convolutions; norms and softmax are always fp32; with openvino, fp16 is bfloat16 on "
        "processors that compute with it, else fp32",
        choices=("fp32", "fp16"),
    )
    device: int = setting(0, "number of the GPU", minimum=0, maximum=63)
    cache_dir: str = setting("", "folder of built engines; empty for ~/.cache/hfnet_ros/engines")
    workspace_mib: int = setting(
        1024, "most GPU memory used to build an engine", unit="MiB", minimum=16, maximum=1048576
    )
    max_engines: int = setting(4, "image sizes kept compiled at once", minimum=1, maximum=64)
    build_after_images: int = setting(
        10,
        "backend auto builds an engine once this many images of one size came; 0 "
        "only uses what `hfnet engine build` made",
        minimum=0,
    )
    cuda_graph: bool = setting(False, "replay each image's kernels as one CUDA graph")
    tune_after_s: float = setting(
        60.0,
        "with backend auto, a node measures the installed runtimes this long after its start, once per machine, and "
        "takes the fastest from the next start on; 0 never measures",
        unit="s",
        minimum=0.0,
        maximum=86400.0,
    )
