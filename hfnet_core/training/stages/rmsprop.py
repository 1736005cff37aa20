"""RMSProp as TensorFlow 1 computes it, with learning rates that change at given steps: the paper's optimisation.

torch's own starts from mean squares of zero instead of one and adds epsilon to the root, so that its first steps are
three times as large.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

__all__ = ["RmsProp", "SteppedRmsProp"]


class RmsProp(torch.optim.Optimizer):
    """m <- decay m + (1 - decay) g^2, from m = 1; then w <- w - rate g / sqrt(m + epsilon). Without momentum."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, decay: float, epsilon: float) -> None:
        super().__init__(parameters, {"lr": rate, "decay": decay, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change each parameter that has a gradient."""
        del closure  # torch's interface; nothing here evaluates a loss twice
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state: dict[str, Any] = self.state[parameter]
                if not state:
                    state["mean_square"] = torch.ones_like(parameter)
                state["mean_square"].lerp_(parameter.grad.square(), 1 - group["decay"])
                scaled = parameter.grad * (state["mean_square"] + group["epsilon"]).rsqrt()
                parameter.add_(scaled, alpha=-group["lr"])


@dataclass(frozen=True)
class SteppedRmsProp:
    """An Optimization. rates: one after the other; changes: steps from which each but the first is used."""

    rates: tuple[float, ...]
    changes: tuple[float, ...]
    decay: float
    epsilon: float

    def optimizer(self, parameters: list[nn.Parameter]) -> RmsProp:
        """For these parameters."""
        return RmsProp(parameters, self.rates[0], self.decay, self.epsilon)

    def learning_rate(self, step: int) -> float:
        """Of the step with this number, from 0."""
        return self.rates[bisect_right(self.changes, step)]
