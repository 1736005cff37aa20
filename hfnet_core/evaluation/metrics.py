"""How good poses are: recall, errors, wrong poses, silence where nothing can be known, latency, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hfnet_core.config import EvaluationConfig
from hfnet_core.errors import DatasetError
from hfnet_core.geometry import Array, Pose, pose_difference, pose_error
from hfnet_core.types import Localization, Localized

__all__ = ["RECALL_LEVELS", "Recall", "Sample", "Score", "Spread", "judge", "nees", "score", "state"]

RECALL_LEVELS = {
    "near": ((0.05, 5.0), (0.10, 5.0), (0.25, 5.0)),
    "far": ((0.25, 2.0), (0.50, 5.0), (5.0, 10.0)),
}


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and what was said of it.

    truth, estimate: map_from_camera; None where unknown. covariance: [6, 6] as in Localized. latency_s: from the
    image's publication, or the start of its processing, to the pose. reason: why there is no estimate. blind: the image
    shows nothing that could tell the place, so that no pose is the right answer. result: what the localizer said, where
    it ran in this process.
    """

    stamp_ns: int
    truth: Pose | None
    estimate: Pose | None = None
    covariance: Array | None = None
    latency_s: float | None = None
    reason: str = ""
    blind: bool = False
    result: Localization | None = field(default=None, repr=False)

    @property
    def error(self) -> tuple[float, float] | None:
        """(metres, degrees) off the truth; None without either pose."""
        if self.truth is None or self.estimate is None:
            return None
        return pose_error(self.truth, self.estimate)


@dataclass(frozen=True)
class Spread:
    """Percentiles of a quantity."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float] | Array) -> Spread | None:
        """None for no values."""
        if len(values) == 0:
            return None
        p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
        return cls(p50, p95, p99, float(np.max(values)))


@dataclass(frozen=True)
class Recall:
    """Share of the images that are not blind whose pose was published within both bounds."""

    distance_m: float
    angle_deg: float
    share: float


@dataclass(frozen=True)
class Score:
    """The judgement of a run. Images without ground truth are counted in `untested` only.

    images: tested, blind ones included. published: images with a pose. blind, blind_published: images that show
    nothing, and how many of them got a pose all the same. wrong: published poses beyond the configured bounds.
    distance_m, angle_deg: errors of published poses. mean_nees: normalized estimation error squared over published
    poses that are not wrong, 6 when the covariance is right.
    """

    images: int
    untested: int
    published: int
    blind: int
    blind_published: int
    wrong: int
    recalls: tuple[Recall, ...]
    distance_m: Spread | None
    angle_deg: Spread | None
    latency_s: Spread | None
    mean_nees: float | None

    @property
    def published_share(self) -> float:
        """Share of the images that are not blind that got a pose."""
        return (self.published - self.blind_published) / max(self.images - self.blind, 1)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts."""
        return {**asdict(self), "published_share": self.published_share}


def judge(sample: Sample, config: EvaluationConfig) -> str:
    """`silent`, `right`, `wrong`, or `untested` for a sample without truth."""
    if sample.truth is None:
        return "untested"
    if sample.error is None:
        return "silent"
    metres, degrees = sample.error
    return "wrong" if metres > config.wrong_distance_m or degrees > config.wrong_angle_deg else "right"


def state(sample: Sample) -> str:
    """What the run was doing at this image: the mode that found the pose, or why there was none."""
    if isinstance(sample.result, Localized):
        return sample.result.mode.value
    if sample.result is not None:
        return sample.result.reason.value
    return "pose" if sample.estimate is not None else sample.reason or "no pose"


def nees(sample: Sample) -> float | None:
    """Normalized estimation error squared: e' P^-1 e with e in the covariance's coordinates; None where undefined."""
    if sample.truth is None or sample.estimate is None or sample.covariance is None:
        return None
    error = pose_difference(sample.estimate, sample.truth)
    try:
        value = float(error @ np.linalg.solve(sample.covariance, error))
    except np.linalg.LinAlgError:
        return None
    return value if np.isfinite(value) and value >= 0 else None


def score(samples: Sequence[Sample], config: EvaluationConfig | None = None) -> Score:
    """Judge a run. Raises DatasetError when no image has ground truth: then there is nothing to judge by."""
    config = config or EvaluationConfig()
    tested = [sample for sample in samples if sample.truth is not None]
    if not tested:
        raise DatasetError(
            f"none of the {len(samples)} images has ground truth: give a bag with poses, or --poses FILE in TUM format"
        )
    errors = np.array([sample.error for sample in tested if sample.error is not None]).reshape(-1, 2)
    seeing = [sample.error for sample in tested if not sample.blind]
    recalls = tuple(
        Recall(metres, degrees, _share(seeing, metres, degrees))
        for metres, degrees in RECALL_LEVELS[config.recall_levels]
    )
    right = [sample for sample in tested if judge(sample, config) == "right"]
    calibration = [value for sample in right if (value := nees(sample)) is not None]
    return Score(
        images=len(tested),
        untested=len(samples) - len(tested),
        published=len(errors),
        blind=sum(sample.blind for sample in tested),
        blind_published=sum(sample.blind and sample.estimate is not None for sample in tested),
        wrong=sum(judge(sample, config) == "wrong" for sample in tested),
        recalls=recalls,
        distance_m=Spread.of(errors[:, 0]),
        angle_deg=Spread.of(errors[:, 1]),
        latency_s=Spread.of([sample.latency_s for sample in samples if sample.latency_s is not None]),
        mean_nees=float(np.mean(calibration)) if calibration else None,
    )


def _share(errors: Sequence[tuple[float, float] | None], metres: float, degrees: float) -> float:
    within = sum(error is not None and error[0] <= metres and error[1] <= degrees for error in errors)
    return within / max(len(errors), 1)
