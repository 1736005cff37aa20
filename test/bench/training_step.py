"""Processor time of a training step's network: forward and backward of 16 crops of 256x256 in bfloat16, one thread.

    python test/bench/training_step.py [--repeats N]

Side by side: gradients of strided depthwise layers as torch makes them and as ours do, one round after the other; first
with the memory that malloc gives back, then with what it keeps. Medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from unittest.mock import patch

import torch

from hfnet_core.config import TrainConfig
from hfnet_core.training import blocks
from hfnet_core.training.allocation import keep_freed_memory
from hfnet_core.training.network import HFNet, channels_last
from hfnet_core.training.recipe import spec_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    network = channels_last(HFNet(spec_of(TrainConfig()))).train()
    images = (255 * torch.rand(16, 1, 256, 256)).contiguous(memory_format=torch.channels_last)
    print(f"torch {torch.__version__}, {repeats} rounds, seconds of processor time")
    for memory in ("given back", "kept"):
        if memory == "kept":
            keep_freed_memory()
        times: dict[str, list[float]] = {"torch's gradients": [], "ours": []}
        for repeat in range(repeats + 2):
            for name, found in times.items():
                with patch.object(
                    blocks, "_HalvingDepthwise", _Strided if name != "ours" else blocks._HalvingDepthwise
                ):
                    seconds = step(network, images)
                if repeat >= 2:  # the first rounds warm caches up
                    found.append(seconds)
        print(f"memory {memory}: " + ", ".join(f"{name} {statistics.median(of):.2f}" for name, of in times.items()))


class _Strided:
    """The layer without gradients of its own."""

    @staticmethod
    def apply(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
        return torch.nn.functional.conv2d(padded, weight, stride=2, groups=x.shape[1])


def step(network: HFNet, images: torch.Tensor) -> float:
    start = time.process_time()
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.local(images)
    (maps.logits.float().square().mean() + maps.descriptors.float()[:, 0].mean()).backward()
    return time.process_time() - start


if __name__ == "__main__":
    main()
