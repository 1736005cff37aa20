"""The training loop, common to both stages: schedule, mixed precision, logs, checkpoints, resume.

    run_stage(LocalStage(...), network, settings, folder)

A run writes `log.csv` and `checkpoint.pt` into its folder. The same call after a kill goes on from the checkpoint: the
learning rate follows the share of the budget that is spent (steps, or minutes of training time summed over resumes),
and batch k depends on the seed and k alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from hfnet_core.errors import ConfigError
from hfnet_core.files import make_folder
from hfnet_core.progress import ProgressLines
from hfnet_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from hfnet_core.training.network import HFNet, channels_last
from hfnet_core.training.stages.csv_table import StepTable

__all__ = ["CHECKPOINT_NAME", "Learned", "Optimization", "RunSettings", "Stage", "run_stage"]

CHECKPOINT_NAME, LOG_NAME = "checkpoint.pt", "log.csv"


class Optimization(Protocol):
    """How weights follow gradients."""

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer: ...

    def learning_rate(self, step: int) -> float: ...


@dataclass(frozen=True)
class RunSettings:
    """How long and how a stage is trained; exactly one of `minutes` and `steps` bounds it.

    learning_rate: peak of a cosine that starts after `warmup` (share of the budget) and ends at 0.
    optimization: instead of AdamW and the cosine.
    bf16_until: share of the budget trained with bfloat16 activations; the rest is float32 and settles the batch norms.
    log_variance: of the tasks whose weights are learned, at the start.
    mean_of: the network ends as the mean of its weights over about so many last steps (exponential); 0: as the last.
    workers: processes that make batches; 0 makes them in the trainer itself.
    processor_time: minutes are those of the processor, a thread of it; other work on the machine costs no steps then.
    checkpoint_every_s, checkpoint_steps: when a checkpoint is written, after so much time and so many steps (0: never).
    """

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: float = 0.02
    gradient_norm: float = 5.0
    optimization: Optimization | None = None
    bf16_until: float = 0.9
    log_variance: float = 0.0
    mean_of: int = 0
    seed: int = 0
    workers: int = 1
    processor_time: bool = False
    checkpoint_every_s: float = 180.0
    checkpoint_steps: int = 0
    log_every: int = 20

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ConfigError("give either minutes or steps, not both or neither")
        if (self.minutes is not None and self.minutes <= 0) or (self.steps is not None and self.steps <= 0):
            raise ConfigError(f"minutes={self.minutes}, steps={self.steps}: the budget must be positive")


class Learned(NamedTuple):
    """What a run learns beside the network. scale: of InfoNCE, 1 / temperature; log_variances: [T], one per task whose
    weight is learned."""

    scale: Tensor
    log_variances: Tensor


class Stage(Protocol):
    """What differs between the stages. tasks: number of losses whose weights are learned. modules: names of the
    network's parts that the stage trains and reads, empty for all: a run goes on whatever the others are like."""

    name: str
    tasks: int
    modules: tuple[str, ...]

    def prepare(self, network: HFNet) -> list[nn.Parameter]:
        """Set train/eval modes, freeze what stays, and return what is trained."""
        ...

    def batches(self, seed: int, length: int) -> Dataset[Any]: ...

    def loss(self, network: HFNet, learned: Learned, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Total loss, and its parts for the log."""
        ...

    def state(self) -> dict[str, Any]:
        """What the stage remembers of former batches, for a checkpoint: numbers, texts and tensors."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`. Raises ConfigError where it is of other data."""
        ...


def run_stage(
    stage: Stage,
    network: HFNet,
    settings: RunSettings,
    folder: Path,
    device: str = "cpu",
    report: Callable[[str], None] = print,
    stop_after: int | None = None,
    after_step: Callable[[int], None] | None = None,
) -> HFNet:
    """Train to the end of the budget, from `folder`'s checkpoint if there is one; returns the network.

    report: takes lines, one at least every ten seconds. stop_after: stop early after this many steps, as a kill just
    after a checkpoint would (for tests). after_step: called after each step with its number; leaves network and random
    numbers as they are.
    """
    make_folder(folder)
    run, log = _Run(stage, network, settings, folder, device), _Log(folder / LOG_NAME)
    if run.checkpoint_path.is_file():
        run.restore()
        report(f"{stage.name}: resumes at step {run.step}, {run.elapsed_s / 60:.1f} min")
    unfinished = run.progress < 1.0
    if unfinished:
        with ProgressLines(report) as progress:
            progress(stage.name, run.step, settings.steps or 0)
            for step in _steps(run, log, report):
                progress(stage.name, step, settings.steps or 0)
                if after_step is not None:
                    after_step(step)
                run.save_if_due()
                if step == stop_after:
                    break
    if run.finish() or unfinished:
        run.save()
    return network


class _Run:
    """Mutable state of one run."""

    def __init__(self, stage: Stage, network: HFNet, settings: RunSettings, folder: Path, device: str) -> None:
        torch.manual_seed(settings.seed)
        self.stage, self.settings, self.device = stage, settings, device
        self.network = channels_last(network.to(device))
        self.log_scale = nn.Parameter(torch.tensor(math.log(22.0), device=device))
        self.log_variances = nn.Parameter(torch.full((stage.tasks,), settings.log_variance, device=device))
        self.parameters = [*stage.prepare(network), self.log_scale, self.log_variances]
        self.optimizer = self._optimizer()
        self.checkpoint_path = folder / CHECKPOINT_NAME
        self.step, self.elapsed_s = 0, 0.0
        self.mean: dict[str, Tensor] = {}
        self._saved = time.monotonic()

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.settings.optimization is not None:
            return self.settings.optimization.optimizer(self.parameters)
        decayed = [p for p in self.parameters if p.ndim > 1]
        others = [p for p in self.parameters if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0..1."""
        if self.settings.steps is not None:
            return min(self.step / self.settings.steps, 1.0)
        assert self.settings.minutes is not None
        return min(self.elapsed_s / (60 * self.settings.minutes), 1.0)

    def clock_s(self) -> float:
        """What the budget is counted in."""
        return time.process_time() / torch.get_num_threads() if self.settings.processor_time else time.monotonic()

    def learning_rate(self) -> float:
        if self.settings.optimization is not None:
            return self.settings.optimization.learning_rate(self.step)
        warmup, progress = self.settings.warmup, self.progress
        if progress < warmup:
            return self.settings.learning_rate * max(progress / warmup, 0.02)
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    @torch.no_grad()
    def follow(self) -> None:
        """Take the weights of a step into their mean."""
        if not self.settings.mean_of:
            return
        share = max(1.0 / self.settings.mean_of, 1.0 / self.step)
        for name, value in self._of_stage(self.network.state_dict()).items():
            if value.is_floating_point() and name in self.mean:
                self.mean[name].lerp_(value, share)
            elif value.is_floating_point():
                self.mean[name] = value.clone()

    def finish(self) -> bool:
        """At the end of the budget, the mean in place of the last weights, if that has not been done."""
        if not self.mean or self.progress < 1.0:
            return False
        self.network.load_state_dict(self.mean, strict=False)
        self.mean = {}
        return True

    def learned(self) -> Learned:
        return Learned(self.log_scale.exp().clamp_max(100.0), self.log_variances)

    def save_if_due(self) -> None:
        """By time, or by the number of steps."""
        settings = self.settings
        due = settings.checkpoint_steps and self.step % settings.checkpoint_steps == 0
        if due or time.monotonic() - self._saved > settings.checkpoint_every_s:
            self.save()

    def save(self) -> None:
        self._saved = time.monotonic()
        save_checkpoint(
            self.checkpoint_path,
            Checkpoint(
                self.stage.name,
                self.step,
                self.elapsed_s,
                self.network.spec,
                self.network.state_dict(),
                self.optimizer.state_dict(),
                self.log_scale.detach(),
                self.log_variances.detach(),
                torch.get_rng_state(),
                self.stage.state(),
                self.mean,
            ),
        )

    def restore(self) -> None:
        saved = load_checkpoint(self.checkpoint_path)
        state = self._of_stage(saved.network)
        shapes = {name: value.shape for name, value in self._of_stage(self.network.state_dict()).items()}
        if saved.stage != self.stage.name or {name: value.shape for name, value in state.items()} != shapes:
            raise ConfigError(
                f"{self.checkpoint_path} is of stage {saved.stage!r}, {saved.spec}: give another output folder"
            )
        self.stage.restore(saved.stage_state)
        self.network.load_state_dict(state, strict=False)
        self.optimizer.load_state_dict(saved.optimizer)
        with torch.no_grad():
            self.log_scale.copy_(saved.scale)
            self.log_variances.copy_(saved.log_variances)
        torch.set_rng_state(saved.random)
        self.step, self.elapsed_s = saved.step, saved.elapsed_s
        self.mean = {name: value.to(self.device) for name, value in saved.mean.items()}

    def _of_stage(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        wanted = self.stage.modules
        return {name: value for name, value in state.items() if not wanted or name.split(".")[0] in wanted}


def _steps(run: _Run, log: _Log, report: Callable[[str], None]) -> Iterator[int]:
    """Train to the end of the budget; the number of each step that is done."""
    clock = run.clock_s()
    for batch in _loader(run):
        log.add(_step(run, batch))
        run.step += 1
        run.follow()
        now = run.clock_s()
        run.elapsed_s += now - clock
        clock = now
        if run.step % run.settings.log_every == 0:
            means = log.write(run)
            report(f"{run.stage.name} step {run.step} {run.elapsed_s / 60:.1f} min {run.progress:.1%} {means}")
        yield run.step
        if run.progress >= 1.0:
            return


class _Log:
    """Means of the losses since the last row."""

    def __init__(self, path: Path) -> None:
        self.table = StepTable(path)
        self.sums: dict[str, float] = {}
        self.count = 0

    def add(self, parts: Mapping[str, float]) -> None:
        self.count += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def write(self, run: _Run) -> str:
        """Append a row and start again; returns the means as text."""
        means = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        row = {"elapsed_s": f"{run.elapsed_s:.1f}", "learning_rate": f"{run.learning_rate():.3e}"}
        self.table.append(run.step, row | {name: f"{value:.5f}" for name, value in means.items()})
        return " ".join(f"{name} {value:.4f}" for name, value in means.items())


def _step(run: _Run, batch: Any) -> dict[str, float]:
    for group in run.optimizer.param_groups:
        group["lr"] = run.learning_rate()
    batch = type(batch)(*(value.to(run.device) for value in batch))
    statistics = {name: value.clone() for name, value in run.network.named_buffers()}
    with torch.autocast(run.device.split(":")[0], torch.bfloat16, enabled=run.progress < run.settings.bf16_until):
        loss, parts = run.stage.loss(run.network, run.learned(), batch)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.parameters, run.settings.gradient_norm)
    if torch.isfinite(norm):
        run.optimizer.step()
    else:  # a batch that overflows is left out rather than destroying weights and running statistics
        for name, value in run.network.named_buffers():
            value.copy_(statistics[name])
    return {"loss": float(loss.detach()), **parts, "gradient": float(norm)}


def _loader(run: _Run) -> DataLoader[Any]:
    length = run.settings.steps if run.settings.steps is not None else 10_000_000
    workers = run.settings.workers
    cv2.setNumThreads(1)  # ends its threads: a worker, which is a fork, would wait for them forever
    return DataLoader(
        run.stage.batches(run.settings.seed, length),
        batch_size=None,
        sampler=range(run.step, length),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # its own: a resumed run must find torch's generator as the killed one left it
    )
